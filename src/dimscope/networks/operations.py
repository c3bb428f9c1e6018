"""Operations: classify torch functions and module classes (linear, pooling, activation, ...).

Operations are identified by their *plain name*: ``relu_``, ``Tensor.relu`` and
``torch.nn.functional.relu`` are all called ``relu``; ``x + y`` and ``x += y`` are called ``add``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from torch import nn
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
    "RESHAPES",
    "SELECTIONS",
    "SILENT",
    "counted_layers",
    "is_activation_module",
    "is_attention_module",
    "is_leaf",
    "is_linear_module",
    "is_pooling_module",
    "plain_name",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVOLUTIONS = frozenset(
    {f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)}
    | {"convolution", "deform_conv2d"}
)


LINEARS = frozenset({"linear", "bilinear"})


RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu"}
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
    "swapaxes swapdims view_as reshape_as type_as requires_grad alias identity"
)


# Operations that return other points, which are not listed as layers.
SELECTIONS = _words(
    "getitem setitem select narrow slice split split_with_sizes tensor_split chunk unbind expand "
    "expand_as repeat repeat_interleave tile broadcast_to index_select gather take_along_dim "
    "masked_fill where roll flip unfold copy fill zero as_strided"
)


# Operations that are called often and never return a tensor; they are not traced.
SILENT = _words(
    "size dim stride numel nelement ndimension is_floating_point is_complex is_contiguous item "
    "tolist data_ptr __len__ __bool__ __hash__ __repr__ __format__ __int__ __float__ __index__ "
    "element_size get_device storage_offset untyped_storage has_names register_hook __set__ "
    "_set_grad_enabled __delete__"
)


_OPERATORS = {"truediv": "div", "floordiv": "floor_divide", "invert": "bitwise_not"}


_ACTIVATION_CLASS = re.compile(r"relu|elu|swish|silu|mish|sigmoid|tanh|softplus|activation", re.I)


_ATTENTION_CLASS = re.compile(r"attention|attn", re.I)


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """Return the plain name of an operation.

    Examples
    --------
    >>> [plain_name(n) for n in ("relu_", "__rsub__", "__iadd__", "max_pool2d_with_indices")]
    ['relu', 'sub', 'add', 'max_pool2d']
    """
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
    """Whether a module is one fully connected layer."""
    return isinstance(module, nn.Linear | nn.Bilinear) or type(module).__name__ == "Conv1D"


def counted_layers(module: nn.Module) -> int:
    """Return the number of layers that a module itself adds to the depth, without its children."""
    if isinstance(module, nn.MultiheadAttention):
        return 1  # its output projection is a child
    return int(
        is_linear_module(module) or isinstance(module, _ConvNd | nn.RNNBase | nn.RNNCellBase)
    )


def is_attention_module(module: nn.Module) -> bool:
    """Whether a module is an attention module, judging by the name of its class."""
    return bool(_ATTENTION_CLASS.search(type(module).__name__))


def is_activation_module(module: nn.Module) -> bool:
    """Whether a module is an activation: it has no weights, and its class name says so."""
    return (
        not isinstance(module, nn.MultiheadAttention)
        and next(module.parameters(), None) is None
        and (
            type(module).__module__ == "torch.nn.modules.activation"
            or bool(_ACTIVATION_CLASS.search(type(module).__name__))
        )
    )


def is_pooling_module(module: nn.Module) -> bool:
    """Whether a module pools: its class name says so, and no module in it adds depth.

    >>> is_pooling_module(nn.AdaptiveAvgPool2d(1)), is_pooling_module(nn.Linear(2, 2))
    (True, False)
    """
    name = type(module).__name__.lower()
    return (
        "pool" in name and "unpool" not in name and not any(map(counted_layers, module.modules()))
    )


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is a layer of ``torch.nn``, whose inner operations are not layers."""
    if isinstance(module, nn.MultiheadAttention | _ConvNd | nn.Linear | _NormBase | nn.RNNBase):
        return True
    return type(module).__module__.startswith("torch.nn.") and next(module.children(), None) is None
