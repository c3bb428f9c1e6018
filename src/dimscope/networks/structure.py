"""Structure: the names, kinds and blocks of a network's modules, found before it runs.

A *block* is a composite part of a network that is repeated: an item of a ``Sequential`` or
``ModuleList``, or one of several siblings of the same class (the Inception modules of GoogLeNet,
the stages of a ResNet, the double convolutions of a U-Net). The output of a block is a checkpoint;
the values computed inside it are not.

A *stage* is a block made of repeated parts, such as ``layer3`` of a ResNet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import GraphModule

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
    pooling, linear, activation, recurrent, attention : bool
        Its kind. A linear layer that is wrapped, as by LoRA, is its wrapper.
    counted : int
        Depth that it adds if the operations inside it cannot be traced.
    stage : bool
        Whether repeated parts make it up.
    wrapped : bool
        Whether it is one layer, linear or convolutional, that has modules inside it.
    scripted : bool
        Whether it is compiled by ``torch.jit``, so that nothing inside it can be seen.
    composite : bool
        Whether it has modules inside it, of which at least one is counted.
    stub : bool
        Whether it only marks the place where values are quantised.
    dynamic : bool
        Whether it quantises its input by a scale that it takes from the whole batch.
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
    recurrent: bool = False
    attention: bool = False
    stage: bool = False
    wrapped: bool = False
    scripted: bool = False
    composite: bool = False
    stub: bool = False
    dynamic: bool = False


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

    Examples
    --------
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
        self._wrapped: dict[nn.Module, bool] = {}
        scripted = {m for m in model.modules() if isinstance(m, torch.jit.ScriptModule)}
        hidden = {inner for m in scripted for inner in m.modules() if inner is not m}
        self.scripted = scripted - hidden
        self.hidden = {
            clean_name(name) for name, module in model.named_modules() if module in hidden
        }
        self._total = self._counted(model)
        blocks = set() if model in self.scripted else self._find(model)
        repeated = _repeated(model)
        attends = {
            m
            for m in model.modules()
            if any(vocabulary.is_attention_module(inner) for inner in m.modules())
        }
        parallel = {name for name, m in model.named_modules() if isinstance(m, _PARALLEL)}
        self.sites: dict[nn.Module, Site] = {}
        for name, module in model.named_modules():
            if unwrap(module) is not module or module in hidden:
                continue
            is_root = module is model
            is_wrapped = self._is_wrapped(module)
            depth = (
                vocabulary.scripted_depth(module)
                if module in self.scripted
                else vocabulary.counted_layers(module)
            )
            # nothing inside a scripted module can be seen, so its output is all there is
            is_scripted = module in self.scripted and depth > 0
            self.sites[module] = Site(
                name=clean_name(name, parallel),
                leaf=(vocabulary.is_leaf(module) or module in self.scripted) and not is_root,
                simple=next(module.children(), None) is None and not is_root,
                block=module in blocks,
                repeated=module in repeated,
                attends=module in attends,
                pooling=vocabulary.is_pooling_module(module) and not is_root,
                linear=vocabulary.is_linear_module(module)
                or (is_wrapped and any(map(vocabulary.is_linear_module, module.modules()))),
                activation=vocabulary.is_activation_module(module),
                counted=depth,
                recurrent=vocabulary.is_recurrent_module(module) and not is_root,
                attention=isinstance(module, nn.MultiheadAttention) and not is_root,
                stage=any(m in repeated for m in module.modules() if m is not module),
                wrapped=is_wrapped,
                scripted=is_scripted,
                composite=self._counted(module) > vocabulary.counted_layers(module)
                and not is_root
                and not is_wrapped
                and not vocabulary.is_leaf(module)
                and type(module) not in _LIST_LIKE,
                stub=vocabulary.is_stub(module),
                dynamic=vocabulary.is_dynamic_module(module),
            )
        kinds = self.sites.values()
        self.plain = (
            not blocks
            and not any(site.pooling for site in kinds)
            and sum(site.linear for site in kinds) < 2
        )
        self.exported = isinstance(model, GraphModule) and any(
            isinstance(node.target, torch._ops.OpOverload) for node in model.graph.nodes
        )
        # the modules of an exported network are not called; its weights give their names
        self.owners = {
            id(weight): clean_name(name.rpartition(".")[0])
            for name, weight in (model.named_parameters() if self.exported else ())
        }

    @property
    def unseen(self) -> str | None:
        """A warning about parts of the network whose layers cannot be seen, or None."""
        if self.exported:
            return (
                "the network was exported: layers are named after their weights, and blocks are "
                "not seen; give the original nn.Module to capture them"
            )
        names = [site.name for site in self.sites.values() if site.scripted]
        if not names:
            return None
        if "" in names:
            place, inner = "the network", "its inner layers"
        else:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
            place, inner = shown, "the layers inside"
        verb = "are" if len(names) > 1 else "is"
        return (
            f"{place} {verb} scripted or traced by torch.jit: {inner} cannot be seen; "
            "give the original nn.Module to capture them"
        )

    @property
    def names(self) -> list[str]:
        """Names of all modules except the root."""
        return [site.name for site in self.sites.values() if site.name]

    def _is_wrapped(self, module: nn.Module) -> bool:
        if module not in self._wrapped:
            self._wrapped[module] = (
                module is not self.model
                and not isinstance(module, torch.jit.ScriptModule)
                and vocabulary.is_wrapped_layer(module)
            )
        return self._wrapped[module]

    def _counted(self, module: nn.Module) -> int:
        if module not in self._weight and self._is_wrapped(module):
            self._weight[module] = 1
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
                blocks = [child for child in blocks if _has_experts(child)]
        kinds = Counter(map(_kind, blocks))
        result: set[nn.Module] = set()
        for child in children:
            if child in self.scripted or self._is_wrapped(child):
                continue
            if child not in blocks:
                result |= self._find(child) if not vocabulary.is_leaf(child) else set()
            elif kinds[_kind(child)] == 1 and 2 * self._counted(child) > self._total:
                # a whole network in a wrapper, such as Sequential(Normalize(), resnet18())
                inner = self._find(child)
                result |= inner if len(inner) >= 2 and not _has_experts(child) else {child}
            else:
                result.add(child)
        return result

    def _is_block_like(self, module: nn.Module) -> bool:
        if (
            vocabulary.is_leaf(module)
            or vocabulary.counted_layers(module)
            or vocabulary.is_pooling_module(module)
            or vocabulary.is_fused(module)
            or module in self.scripted
            or self._is_wrapped(module)
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


def _has_experts(module: nn.Module) -> bool:
    """Whether a module is a mixture of experts, of which each may see some of the stimuli."""
    return any(
        "expert" in name.lower() and isinstance(child, _LIST_LIKE)
        for name, child in module.named_children()
    )


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
