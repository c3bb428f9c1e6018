"""Signature: the parameters of a network's ``forward``, and what each of them takes.

The name of a parameter decides only whether it is a padding mask, a training target or an option,
which takes no tensor of the data. Every other parameter takes a tensor of the data.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from dimscope.networks.structure import unwrap

__all__ = ["Parameter", "Signature", "is_padding_mask", "is_target", "marks_padding"]


Use = Literal["input", "mask", "target", "option"]

TARGETS = (
    "labels", "label", "targets", "target", "y", "start_positions", "end_positions",
    "next_sentence_label", "sentence_order_label", "class_labels", "mask_labels", "label_ids",
    "y_true", "ground_truth", "class_id",
)  # fmt: skip
"""Names of targets; the clearest names of class labels come first."""

PADDING_MASKS = (
    "attention_mask", "src_key_padding_mask", "key_padding_mask", "padding_mask", "mask",
    "decoder_attention_mask", "tgt_key_padding_mask", "memory_key_padding_mask",
    "encoder_attention_mask", "pad_mask", "text_mask", "input_mask", "src_padding_mask",
    "tgt_padding_mask", "valid_mask", "token_mask",
)  # fmt: skip

OPTIONS = (
    "past_key_values", "past_key_value", "past", "cache_params", "cache_position", "cache",
    "head_mask", "decoder_head_mask", "cross_attn_head_mask", "use_cache", "encoder_outputs",
    "training", "train", "is_causal", "loss_type", "num_items_in_batch", "logits_to_keep",
    "interpolate_pos_encoding", "mems", "generator", "kwargs", "config",
)  # fmt: skip
"""Names of parameters that never take a tensor of the data."""

OPTION_PREFIXES = ("output_", "return_", "use_")
"""How further names of such parameters begin, such as ``output_hidden_states``."""

SEQUENCES = (
    "token_type_ids", "position_ids", "decoder_input_ids", "inputs_embeds", "input_ids",
    "decoder_inputs_embeds", "decoder_position_ids", "segment_ids", "langs",
    "encoder_hidden_states", "global_attention_mask", "bool_masked_pos", "attn_mask", "src_mask",
    "tgt_mask", "memory_mask",
)  # fmt: skip
"""Names of parameters that take a row of numbers for each stimulus, never a single number."""


def is_target(name: str) -> bool:
    """Return whether a field or parameter of this name is a training target.

    Examples
    --------
    >>> is_target("labels"), is_target("x")
    (True, False)
    """
    return name in TARGETS


def is_padding_mask(name: str) -> bool:
    """Return whether a field or parameter of this name marks padding.

    Examples
    --------
    >>> is_padding_mask("attention_mask"), is_padding_mask("src_mask")
    (True, False)
    """
    return name in PADDING_MASKS or name.endswith("key_padding_mask")


def marks_padding(name: str) -> bool:
    """Return whether a mask of this name is True at padding, as in ``torch.nn``.

    Examples
    --------
    >>> marks_padding("src_key_padding_mask"), marks_padding("attention_mask")
    (True, False)
    """
    return name.endswith("key_padding_mask")


@dataclass(frozen=True)
class Parameter:
    """A parameter of ``forward``.

    Parameters
    ----------
    name : str
    use : {"input", "mask", "target", "option"}
        What it takes.
    required : bool
        Whether it has no default.
    positional : bool
        Whether it can be given by position.
    takes_list : bool
        Whether its annotation is a list, as for the images of a detector.
    """

    name: str
    use: Use
    required: bool
    positional: bool = True
    takes_list: bool = False

    @property
    def takes_sequence(self) -> bool:
        """Whether it takes a row of numbers for each stimulus, never a single number."""
        return self.use == "mask" or self.name in SEQUENCES


@dataclass(frozen=True)
class Signature:
    """The parameters of a network's ``forward``.

    Parameters
    ----------
    parameters : tuple of Parameter
        All named parameters, in order.
    known : bool
        Whether the parameters could be read; otherwise, any call is possible.
    more : bool
        Whether further positional arguments are accepted (``*args``).
    keywords : bool
        Whether further keywords are accepted (``**kwargs``).
    """

    parameters: tuple[Parameter, ...] = ()
    known: bool = False
    more: bool = True
    keywords: bool = True

    @classmethod
    def of(cls, model: nn.Module) -> Signature:
        """Read the signature of an unwrapped network.

        A network whose ``forward`` takes only ``*args, **kwargs`` and that has a single child has
        the signature of that child. The signature of a scripted network is its schema.

        Examples
        --------
        >>> [parameter.name for parameter in Signature.of(nn.Bilinear(2, 2, 1)).parameters]
        ['input1', 'input2']
        """
        network = unwrap(model)
        while True:
            signature = _read(network)
            children = list(network.children())
            if signature.parameters or not signature.known or len(children) != 1:
                # ``*args`` alone does not restrict the call
                return signature if signature.parameters else cls()
            network = unwrap(children[0])

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def __contains__(self, name: object) -> bool:
        return any(parameter.name == name for parameter in self.parameters)

    @property
    def positional(self) -> tuple[Parameter, ...]:
        """The parameters that can be given by position."""
        return tuple(parameter for parameter in self.parameters if parameter.positional)

    @property
    def required(self) -> tuple[Parameter, ...]:
        """The parameters without a default."""
        return tuple(parameter for parameter in self.parameters if parameter.required)

    @property
    def mask(self) -> Parameter | None:
        """The first parameter that takes a padding mask."""
        masks = (parameter for parameter in self.parameters if is_padding_mask(parameter.name))
        return next(masks, None)

    def called(self) -> str:
        """Return the signature as text, for messages.

        Examples
        --------
        >>> Signature.of(nn.Linear(1, 1)).called()
        'forward(input)'
        """
        names = [
            p.name if p.required else f"{p.name}=" for p in self.parameters if p.use != "option"
        ]
        return f"forward({', '.join(names[:6] + ['...'] * (len(names) > 6))})"


def _read(network: nn.Module) -> Signature:
    schema = getattr(getattr(network, "forward", None), "schema", None)
    if schema is not None:  # scripted or traced: Python sees (*args, **kwargs)
        arguments = [a for a in schema.arguments if a.name != "self"]
        return Signature(
            tuple(
                _parameter(a.name, a.default_value if a.has_default_value() else inspect._empty)
                for a in arguments
            ),
            True, False, False,
        )  # fmt: skip
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(network.forward).parameters
    except (TypeError, ValueError):
        return Signature()
    kinds = {parameter.kind for parameter in parameters.values()}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return Signature(
        tuple(
            _parameter(p.name, p.default, p.annotation, positional=p.kind in named)
            for p in parameters.values()
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ),
        True,
        inspect.Parameter.VAR_POSITIONAL in kinds,
        inspect.Parameter.VAR_KEYWORD in kinds,
    )


def _parameter(
    name: str, default: Any, annotation: Any = None, *, positional: bool = True
) -> Parameter:
    required = default is inspect.Parameter.empty
    use: Use = "input"
    is_option = name in OPTIONS or name.startswith(OPTION_PREFIXES)
    if is_option or (not required and isinstance(default, bool | str | int | float)):
        use = "option"
    elif is_target(name):
        use = "target"
    elif "mask" in name:
        use = "mask"
    takes_list = re.match(r"(typing\.)?list\b", str(annotation), re.I) is not None
    return Parameter(name, use, required, positional, takes_list)
