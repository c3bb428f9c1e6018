"""Operations: classify torch functions and module classes (linear, pooling, activation, ...).

Operations are identified by their *plain name*: ``relu_``, ``Tensor.relu`` and
``torch.nn.functional.relu`` are all called ``relu``; ``x + y`` and ``x += y`` are called ``add``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

__all__ = [
    "ACTIVATIONS",
    "ATTENTIONS",
    "CONVOLUTIONS",
    "COUNTED",
    "LINEARS",
    "MEANS",
    "NORMS",
    "POOLINGS",
    "PRODUCTS",
    "RECURRENT",
    "RESHAPES",
    "SELECTIONS",
    "SILENT",
    "counted_layers",
    "is_activation_module",
    "is_attention_module",
    "is_dynamic_module",
    "is_fused",
    "is_leaf",
    "is_linear_module",
    "is_pooling_module",
    "is_recurrent_module",
    "is_stub",
    "is_wrapped_layer",
    "plain_name",
    "scripted_depth",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVOLUTIONS = frozenset(
    {f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)}
    | {"convolution", "_convolution", "deform_conv2d"}
)


LINEARS = frozenset({"linear", "bilinear"})


RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu", "quantized_lstm", "quantized_gru"}
    | {f"{kind}_cell" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
)


# Depth that one operation adds. Multi-head attention has a projection in and one out.
COUNTED = dict.fromkeys(CONVOLUTIONS | LINEARS | RECURRENT, 1) | {"multi_head_attention_forward": 2}


# A product with a tensor that does not depend on the data is a linear layer too.
PRODUCTS = frozenset({"matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot"})


ATTENTIONS = frozenset({"scaled_dot_product_attention", "multi_head_attention_forward"})


POOLINGS = frozenset(
    {f"{kind}_pool{d}d" for kind in ("max", "avg", "lp", "fractional_max") for d in (1, 2, 3)}
    | {f"adaptive_{kind}_pool{d}d" for kind in ("max", "avg") for d in (1, 2, 3)}
)


MEANS = frozenset({"mean", "amax"})  # poolings if taken over the positions of a feature map


ACTIVATIONS = _words(
    "relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid tanh hardtanh hardswish "
    "hardsigmoid hardshrink softshrink tanhshrink logsigmoid softplus softsign prelu rrelu "
    "threshold clamp clamp_min softmax log_softmax softmin glu erf sin"
)


NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})


# Operations that return the same values, perhaps in another shape: still the same points.
RESHAPES = _words(
    "view reshape flatten unflatten ravel permute transpose t T mT H adjoint contiguous squeeze "
    "unsqueeze to type float half double bfloat16 cpu cuda clone detach data movedim moveaxis "
    "swapaxes swapdims view_as reshape_as type_as requires_grad alias identity dequantize"
)


# Operations that return other points, which are not listed as layers.
SELECTIONS = _words(
    "getitem setitem select narrow slice split split_with_sizes tensor_split chunk unbind expand "
    "expand_as repeat repeat_interleave tile broadcast_to index_select gather take_along_dim "
    "masked_fill where roll flip unfold copy fill zero as_strided quantize_per_tensor "
    "quantize_per_channel quantize_per_tensor_dynamic"
)


# Operations that are called often and never return a tensor; they are not traced.
SILENT = _words(
    "size dim stride numel nelement ndimension is_floating_point is_complex is_contiguous item "
    "tolist data_ptr __len__ __bool__ __hash__ __repr__ __format__ __int__ __float__ __index__ "
    "element_size get_device storage_offset untyped_storage has_names register_hook __set__ "
    "_set_grad_enabled __delete__"
)


_OPERATORS = {"truediv": "div", "floordiv": "floor_divide", "invert": "bitwise_not"}


# Quantised layers, perhaps fused with what follows: linear_relu, linear_dynamic, conv2d_relu.
_QUANTIZED = re.compile(
    r"(?:quantized_)?(linear|conv(?:_transpose)?[123]d|(?:lstm|gru|rnn_tanh|rnn_relu)_cell)"
    r"(?:_relu|_leaky_relu|_tanh|_add)*(?:_dynamic)?(?:_fp16)?(?:_unpacked_weight)?"
)


_ACTIVATION_CLASS = re.compile(r"relu|elu|swish|silu|mish|sigmoid|tanh|softplus|activation", re.I)


_ATTENTION_CLASS = re.compile(r"attention|attn", re.I)


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """Return the plain name of an operation.

    Examples
    --------
    >>> [plain_name(n) for n in ("relu_", "__rsub__", "__iadd__", "max_pool2d_with_indices")]
    ['relu', 'sub', 'add', 'max_pool2d']
    >>> [plain_name(n) for n in ("linear_relu_dynamic", "conv2d.default")]
    ['linear', 'conv2d']
    """
    name = name.partition(".")[0]  # without the overload
    quantized = _QUANTIZED.fullmatch(name)
    if quantized:
        return quantized[1]
    bare = name.strip("_")
    if name.startswith("__"):
        if bare[:1] in "ri" and bare[1:] in {
            "add",
            "sub",
            "mul",
            "truediv",
            "pow",
            "matmul",
            "mod",
            "div",
            "floordiv",
        }:
            bare = bare[1:]
        bare = _OPERATORS.get(bare, bare)
    return bare.removesuffix("_with_indices")


def is_linear_module(module: nn.Module) -> bool:
    """Whether a module is one fully connected layer, perhaps quantised.

    Examples
    --------
    >>> is_linear_module(nn.Linear(2, 2)), is_linear_module(nn.Conv1d(2, 2, 1))
    (True, False)
    """
    return (
        isinstance(module, nn.Linear | nn.Bilinear)
        or type(module).__name__ == "Conv1D"
        or (_is_quantized(module) and "Linear" in type(module).__name__ and hasattr(module, "bias"))
    )


def is_recurrent_module(module: nn.Module) -> bool:
    """Whether a module is a recurrent layer or the cell of one, perhaps quantised.

    Examples
    --------
    >>> is_recurrent_module(nn.GRU(2, 2)), is_recurrent_module(nn.LSTMCell(2, 2))
    (True, True)
    """
    return isinstance(module, nn.RNNBase | nn.RNNCellBase) or (
        _is_quantized(module)
        and type(module).__name__.removesuffix("Cell") in ("LSTM", "GRU", "RNN")
    )


def is_stub(module: nn.Module) -> bool:
    """Whether a module only marks where values are quantised, as ``QuantStub`` does."""
    return type(module).__module__.startswith("torch.ao.") and type(module).__name__ in (
        "QuantStub",
        "DeQuantStub",
        "Quantize",
        "DeQuantize",
    )


def is_fused(module: nn.Module) -> bool:
    """Whether a module is one layer fused with its batch norm or activation by ``torch.ao``."""
    return any(kind.__name__ == "_FusedModule" for kind in type(module).__mro__)


def is_dynamic_module(module: nn.Module) -> bool:
    """Whether a module quantises its input by a scale that it takes from the whole batch."""
    return ".quantized.dynamic." in f"{type(module).__module__}."


def _is_quantized(module: nn.Module) -> bool:
    package = type(module).__module__
    return package.startswith("torch.ao.nn.") and "quantized" in package


def counted_layers(module: nn.Module) -> int:
    """Return the number of layers that a module itself adds to the depth, without its children."""
    if isinstance(module, nn.MultiheadAttention):
        return 1  # its output projection is a child
    return int(
        is_linear_module(module)
        or is_recurrent_module(module)
        or isinstance(module, _ConvNd)
        or (_is_quantized(module) and "Conv" in type(module).__name__)
    )


_ADAPTER = re.compile(r"lora|dora|loha|lokr|adapter|low_?rank", re.I)


def is_wrapped_layer(module: nn.Module) -> bool:
    """Whether a module is one linear layer or convolution with an addition to its weights.

    Such are the adapters of peft, layers of low rank (LoRA) written by hand, and the fused modules
    of ``torch.ao``.

    Examples
    --------
    >>> class Adapted(nn.Module):
    ...     def __init__(self, base, rank):
    ...         super().__init__()
    ...         self.base = base
    ...         self.down = nn.Linear(base.in_features, rank, bias=False)
    ...         self.up = nn.Linear(rank, base.out_features, bias=False)
    >>> is_wrapped_layer(Adapted(nn.Linear(20, 30), 4)), is_wrapped_layer(nn.Linear(20, 30))
    (True, False)
    """
    if next(module.children(), None) is None or counted_layers(module):
        return False
    if is_fused(module):
        return any(map(counted_layers, module.modules()))
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    if any(kind.__name__ == "BaseTunerLayer" for kind in type(module).__mro__):
        base = getattr(module, "base_layer", None)
        return isinstance(base, nn.Module) and _is_one_layer(base)
    return any(_adds_to(module, base) for base in module.children() if _is_one_layer(base))


def _is_one_layer(module: nn.Module) -> bool:
    return is_linear_module(module) or isinstance(module, _ConvNd)


def _adds_to(module: nn.Module, base: nn.Module) -> bool:
    """Whether the other weights of a module are pairs of matrices that make one like the base's."""
    weight = getattr(base, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return False
    inside = set(base.parameters())
    others = [(name, p) for name, p in module.named_parameters() if p.ndim >= 2 and p not in inside]
    if not others or len(others) % 2:
        return False
    n_out, n_in = weight.shape[0], weight.shape[1]
    for (_, first), (_, second) in zip(others[::2], others[1::2], strict=True):
        ranks = [
            rank
            for a, b in ((first, second), (second, first))
            for into, rank in (a.shape[:2], a.shape[1::-1])
            if into == n_in and tuple(b.shape[:2]) in ((n_out, rank), (rank, n_out))
        ]
        if not ranks:
            return False
    names = [type(m).__name__ for m in module.modules()] + [name for name, _ in others]
    # layers in a row can have such shapes too; an input of another size than the output cannot
    return any(map(_ADAPTER.search, names)) or (
        n_in != n_out and min(min(p.shape[:2]) for _, p in others) < min(n_in, n_out)
    )


def _class_name(module: nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return str(module.original_name)
    return type(module).__name__


def is_attention_module(module: nn.Module) -> bool:
    """Whether a module is an attention module, judging by the name of its class."""
    return bool(_ATTENTION_CLASS.search(_class_name(module)))


def is_activation_module(module: nn.Module) -> bool:
    """Whether a module is an activation: it has no weights, and its class name says so."""
    return (
        not isinstance(module, nn.MultiheadAttention)
        and next(module.parameters(), None) is None
        and (
            type(module).__module__ == "torch.nn.modules.activation"
            or bool(_ACTIVATION_CLASS.search(_class_name(module)))
        )
    )


def is_pooling_module(module: nn.Module) -> bool:
    """Whether a module pools: its class name says so, and no module in it adds depth.

    Examples
    --------
    >>> is_pooling_module(nn.AdaptiveAvgPool2d(1)), is_pooling_module(nn.Linear(2, 2))
    (True, False)
    """
    name = _class_name(module).lower()
    return (
        "pool" in name and "unpool" not in name and not any(map(counted_layers, module.modules()))
    )


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is a layer of ``torch.nn``, whose inner operations are not layers."""
    if isinstance(module, nn.MultiheadAttention | _ConvNd | nn.Linear | _NormBase | nn.RNNBase):
        return True
    if is_stub(module) or (_is_quantized(module) and counted_layers(module)):
        return True
    return type(module).__module__.startswith("torch.nn.") and next(module.children(), None) is None


def scripted_depth(module: nn.Module) -> int:
    """Return the longest path through a scripted or traced module, in layers."""
    try:
        graph: Any = module.inlined_graph
    except (AttributeError, RuntimeError):  # no forward method
        return 0
    depths: dict[str, int] = {}
    _walk(graph, depths)
    return max((depths[value.debugName()] for value in graph.outputs()), default=0)


def _walk(block: Any, depths: dict[str, int]) -> None:
    """Follow the depth of the values in a block of a TorchScript graph, and in its inner blocks."""
    for value in block.inputs():
        depths.setdefault(value.debugName(), 0)
    for node in block.nodes():
        before = max((depths[value.debugName()] for value in node.inputs()), default=0)
        for inner in node.blocks():
            for value in inner.inputs():
                depths[value.debugName()] = before
            _walk(inner, depths)
            ends = (depths[value.debugName()] for value in inner.outputs())
            before = max([before, *ends])
        operation = plain_name(node.kind().rpartition("::")[2])
        after = before + COUNTED.get(operation, 0)
        if operation in {"addmm", "matmul"} and _has_constant(node):
            after += 1
        for value in node.outputs():
            depths[value.debugName()] = after


def _has_constant(node: Any) -> bool:
    """Whether an operand of a product is a weight."""

    def kinds(value: Any, most: int = 4) -> Iterator[str]:
        made = value.node()
        yield made.kind()
        if made.kind() in ("aten::t", "aten::transpose") and most:
            yield from kinds(next(iter(made.inputs())), most - 1)

    return any("prim::GetAttr" in kinds(value) for value in node.inputs())
