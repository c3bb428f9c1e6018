"""Dominance: whether one token decides the mean over the tokens of its text.

In many transformers the first token, or a few others, grows to hundreds of times the norm of the
rest in some blocks. The mean over the tokens is then this token divided by the number of tokens:
its dimension follows the lengths of the texts, not their content.

References
----------
M. Sun, X. Chen, J. Z. Kolter and Z. Liu, "Massive activations in large language models", COLM
(2024).

G. Xiao, Y. Tian, B. Chen, S. Han and M. Lewis, "Efficient streaming language models with attention
sinks", ICLR (2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dimscope.errors import CaptureWarning, warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Dominance", "warn_of_dominance"]

_NAMED = 5  # layers


class Dominance(NamedTuple):
    """How often one token outweighs all others of its text.

    Parameters
    ----------
    share : float
        Share of the texts with several tokens in which one is longer than the sum of the others.
    first : float
        Share of these texts in which it is the first.
    """

    share: float
    first: float

    @classmethod
    def of(cls, lengths: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> Dominance:
        """Count from the norms of the tokens.

        Parameters
        ----------
        lengths : array of shape (n_texts, n_tokens)
        mask : array of shape (n_texts, n_tokens), optional
            True at real tokens.

        Examples
        --------
        >>> Dominance.of(np.array([[9.0, 1.0, 1.0], [1.0, 1.0, 1.0]]))
        Dominance(share=0.5, first=1.0)
        """
        real = np.ones(lengths.shape, bool) if mask is None else mask
        several = real.sum(axis=1) > 1
        lengths = np.where(real, lengths, 0).astype(np.float64)[several]
        longest = lengths.max(axis=1, initial=0)
        dominated = longest > lengths.sum(axis=1) - longest
        if not dominated.any():
            return cls(0.0, 0.0)
        first = real[several].argmax(axis=1) == lengths.argmax(axis=1)
        return cls(float(dominated.mean()), float(first[dominated].mean()))


def warn_of_dominance(found: Mapping[str, Dominance], n_layers: int) -> None:
    """Warn of the layers where one token decides the mean in half of the texts.

    Parameters
    ----------
    found : Mapping of str to Dominance
        By name of layer.
    n_layers : int
        Number of layers.

    Warns
    -----
    CaptureWarning
    """
    layers = {name: value for name, value in found.items() if value.share >= 0.5}
    if not layers:
        return
    names = ", ".join(list(layers)[:_NAMED]) + (", ..." if len(layers) > _NAMED else "")
    which = "the first token" if min(v.first for v in layers.values()) > 0.5 else "one token"
    warn(
        f"in {len(layers)} of {n_layers} layers ({names}), {which} is longer than all other tokens "
        f"of its text together, in at least {min(v.share for v in layers.values()):.0%} of the "
        "texts: the mean over the tokens is little more than this token divided by their number, "
        "so that its dimension follows the lengths of the texts. Use readout 'last', or leave this "
        "token out of the mean (docs/guides/language-model.md)",
        CaptureWarning,
    )
