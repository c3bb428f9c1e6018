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

_FEWEST_TOKENS, _FEWEST_TEXTS = 4, 8
_NAMED = 5  # layers


class Dominance(NamedTuple):
    """In how many texts one token outweighs all others.

    Parameters
    ----------
    n_texts : int
        Number of texts with four tokens or more; among fewer, one may be the longest by far.
    n_dominated : int
        Number of these in which one token is longer than the sum of the others.
    n_by_first : int
        Number of these in which it is the first token.
    """

    n_texts: int = 0
    n_dominated: int = 0
    n_by_first: int = 0

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
        >>> Dominance.of(np.array([[9.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]))
        Dominance(n_texts=2, n_dominated=1, n_by_first=1)
        """
        real = np.ones(lengths.shape, bool) if mask is None else mask
        real, lengths = (array[real.sum(axis=1) >= _FEWEST_TOKENS] for array in (real, lengths))
        if not len(real):
            return cls()
        lengths = np.where(real, lengths, 0).astype(np.float64)
        dominated = lengths.max(axis=1) > lengths.sum(axis=1) / 2
        by_first = dominated & (real.argmax(axis=1) == lengths.argmax(axis=1))
        return cls(len(real), int(dominated.sum()), int(by_first.sum()))

    def with_more(self, other: Dominance) -> Dominance:
        """Add the counts of other texts."""
        return Dominance(*(mine + its for mine, its in zip(self, other, strict=True)))

    @property
    def is_known(self) -> bool:
        """Whether enough texts were counted."""
        return self.n_texts >= _FEWEST_TEXTS

    @property
    def share(self) -> float:
        """Share of the texts in which one token outweighs all others."""
        return self.n_dominated / max(1, self.n_texts)


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
    layers = {name: v for name, v in found.items() if v.is_known and v.share >= 0.5}
    if not layers:
        return
    names = ", ".join(list(layers)[:_NAMED]) + (", ..." if len(layers) > _NAMED else "")
    by_first = all(2 * v.n_by_first > v.n_dominated for v in layers.values())
    which = "the first token" if by_first else "one token"
    warn(
        f"in {len(layers)} of {n_layers} layers ({names}), {which} is longer than all other tokens "
        f"of its text together, in at least {min(v.share for v in layers.values()):.0%} of the "
        "texts: the mean over the tokens is little more than this token divided by their number, "
        "so that its dimension follows the lengths of the texts. Use readout 'last', or leave this "
        "token out of the mean (docs/guides/language-model.md)",
        CaptureWarning,
    )
