"""Structure: the names, kinds and blocks of a network's modules, found before it runs.

A *block* is a composite part of a network that is repeated: an item of a ``Sequential`` or
``ModuleList``, or one of several siblings of the same class (the Inception modules of GoogLeNet,
the stages of a ResNet, the double convolutions of a U-Net). The output of a block is a checkpoint;
the values computed inside it are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass

from torch import nn

from dimscope.networks import operations as vocabulary

__all__ = ["Site", "Structure", "clean_name", "unwrap"]


_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


_LIST_LIKE = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Site:
    """A module of the network, as described before the run.

    Parameters
    ----------
    name : str
        Qualified name, without prefixes added by wrappers; empty for the root.
    leaf : bool
        Whether the operations inside are not counted as separate layers.
    simple : bool
        Whether it has no children, so that its name also stands for the operations inside it.
    block : bool
        Whether it is a block, and so a checkpoint.
    repeated, attends : bool
        Whether it is one of several items of the same class in a container; whether it contains
        attention.
    pooling, linear, activation : bool
        Its kind.
    counted : int
        Depth that it adds if the operations inside it cannot be traced.
    """

    name: str
    leaf: bool
    simple: bool
    block: bool
    repeated: bool
    attends: bool
    pooling: bool
    linear: bool
    activation: bool
    counted: int


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside ``torch.compile``, DataParallel and similar wrappers."""
    while True:
        inner = next((getattr(model, w) for w in _WRAPPERS if w in model._modules), None)
        if inner is None and isinstance(model, _PARALLEL):
            inner = model.module
        if inner is None:
            return model
        model = inner


def clean_name(name: str, parallel: Container[str] = ()) -> str:
    """Remove the prefixes that wrappers add to a qualified name.

    ``parallel`` holds the original names of the DataParallel modules; the ``module.`` that they add
    is removed too.

    >>> clean_name("_orig_mod.layer1._orig_mod.0"), clean_name("features.module.0", ["features"])
    ('layer1.0', 'features.0')
    """
    parts = name.split(".")
    return ".".join(
        part
        for i, part in enumerate(parts)
        if part not in _WRAPPERS and not (part == "module" and ".".join(parts[:i]) in parallel)
    )


class Structure:
    """Names and kinds of all modules of an unwrapped network.

    Parameters
    ----------
    model : torch.nn.Module
        The network.

    Attributes
    ----------
    sites : dict of Module to Site
        Every module except the wrappers.
    plain : bool
        Whether no module is a checkpoint, as in a network that only calls functions.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._weight: dict[nn.Module, int] = {}
        self._total = self._counted(model)
        blocks = self._find(model)
        repeated = _repeated(model)
        attends = {
            m
            for m in model.modules()
            if any(vocabulary.is_attention_module(inner) for inner in m.modules())
        }
        parallel = {name for name, m in model.named_modules() if isinstance(m, _PARALLEL)}
        self.sites: dict[nn.Module, Site] = {}
        for name, module in model.named_modules():
            if unwrap(module) is not module:
                continue
            self.sites[module] = Site(
                name=clean_name(name, parallel),
                leaf=vocabulary.is_leaf(module) and module is not model,
                simple=next(module.children(), None) is None and module is not model,
                block=module in blocks,
                repeated=module in repeated,
                attends=module in attends,
                pooling=vocabulary.is_pooling_module(module) and module is not model,
                linear=vocabulary.is_linear_module(module),
                activation=vocabulary.is_activation_module(module),
                counted=vocabulary.counted_layers(module),
            )
        kinds = self.sites.values()
        self.plain = (
            not blocks
            and not any(site.pooling for site in kinds)
            and sum(site.linear for site in kinds) < 2
        )

    @property
    def names(self) -> list[str]:
        """Names of all modules except the root."""
        return [site.name for site in self.sites.values() if site.name]

    def _counted(self, module: nn.Module) -> int:
        if module not in self._weight:
            self._weight[module] = vocabulary.counted_layers(module) + sum(
                self._counted(child) for child in module.children()
            )
        return self._weight[module]

    def _find(self, parent: nn.Module) -> set[nn.Module]:
        """Return the blocks below ``parent``."""
        children = [unwrap(child) for child in parent.children()]
        blocks = [child for child in children if self._is_block_like(child)]
        if not isinstance(parent, _CONTAINERS):
            # attributes are blocks only if their class occurs twice, unlike stems and heads
            blocks = [child for child in blocks if self._counted(child) >= 2]
            kinds = Counter(map(_kind, blocks))
            if not any(n >= 2 for n in kinds.values()):
                blocks = []
        kinds = Counter(map(_kind, blocks))
        result: set[nn.Module] = set()
        for child in children:
            if child not in blocks:
                result |= self._find(child) if not vocabulary.is_leaf(child) else set()
            elif kinds[_kind(child)] == 1 and 2 * self._counted(child) > self._total:
                # a whole network in a wrapper, such as Sequential(Normalize(), resnet18())
                inner = self._find(child)
                result |= inner if len(inner) >= 2 else {child}
            else:
                result.add(child)
        return result

    def _is_block_like(self, module: nn.Module) -> bool:
        if (
            vocabulary.is_leaf(module)
            or vocabulary.counted_layers(module)
            or vocabulary.is_pooling_module(module)
            or type(module) in _LIST_LIKE
        ):
            return False
        children = list(module.children())
        if not children:  # a custom layer with at least two matrices of its own
            return sum(p.ndim >= 2 for p in module.parameters(recurse=False)) >= 2
        if type(module) is nn.Sequential and not any(map(self._is_block_like, children)):
            # a plain sequence of layers: its poolings and linear layers are the checkpoints
            inside = [m for m in module.modules() if m is not module]
            if any(
                vocabulary.is_pooling_module(m) or vocabulary.is_linear_module(m) for m in inside
            ):
                return False
            return self._counted(module) >= 1
        return next(module.parameters(), None) is not None


def _kind(module: nn.Module) -> tuple[type, type | None]:
    """Return the class of a block and, for a Sequential, the most common class inside it."""
    if type(module) is not nn.Sequential:
        return type(module), None
    classes = Counter(
        type(child) for child in module.children() if next(child.children(), None) is not None
    )
    return nn.Sequential, classes.most_common(1)[0][0] if classes else None


def _repeated(model: nn.Module) -> set[nn.Module]:
    """Return the items that are alone in their container, or have siblings of the same class."""
    items_of_containers: set[nn.Module] = set()
    for parent in model.modules():
        if isinstance(parent, _CONTAINERS):
            items = [unwrap(child) for child in parent.children()]
            classes = Counter(map(type, items))
            items_of_containers.update(
                item
                for item in items
                if next(item.children(), None) is not None
                and (classes[type(item)] >= 2 or len(items) == 1)
            )
    return items_of_containers
