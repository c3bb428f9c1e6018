"""Influences as JSON-compatible values: their arrays, compressed, as text."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

from dimscope.estimators.effects import ROUND
from dimscope.estimators.uncertainty import Influence

__all__ = ["from_text", "to_text"]

_DTYPES = {
    "scores": "<f8", "pairs": "<i8", "rows": "<i8", "identities": "<u8", "effects": "<f8",
    "edge": "<f8", "groups": "<i8",
}  # fmt: skip


def to_text(influence: Influence | None) -> dict[str, Any] | None:
    """Convert an influence to JSON-compatible values without loss: its arrays, compressed, as text.

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> influence = Influence(np.array([1.0, -1.0]), none, np.arange(2))
    >>> from_text(to_text(influence)) == influence
    True
    """
    if influence is None:
        return None
    text: dict[str, Any] = {"stated": influence.stated}
    if influence.effects is not None:
        text["subsamples"] = len(influence.effects)
    for name, dtype in _DTYPES.items():
        array = getattr(influence, name)
        if array is not None:
            text[name] = b64encode(zlib.compress(array.astype(dtype).tobytes())).decode()
    return text


def from_text(data: Mapping[str, Any] | None) -> Influence | None:
    """Convert back what :func:`to_text` made.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the text is damaged, or the arrays do not fit together.
    """
    if data is None:
        return None
    arrays: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        if name in data:
            try:
                plain = zlib.decompress(b64decode(data[name], validate=True))
            except zlib.error as error:
                raise ValueError(f"{name} of an influence cannot be read: {error}") from None
            arrays[name] = np.frombuffer(plain, dtype).astype(dtype[1:])
    scores, pairs, rows = arrays["scores"], arrays["pairs"].reshape(2, -1), arrays["rows"]
    identities, groups = arrays.get("identities"), arrays.get("groups")
    effects = arrays.get("effects")
    if effects is not None:
        effects = effects.reshape(data["subsamples"], -1)
    n_rows = np.iinfo(np.intp).max if identities is None else len(identities)
    fits = (
        rows.shape == scores.shape
        and (effects is None or len(effects) % ROUND == 0)
        and (arrays.get("edge") is None or arrays["edge"].shape == scores.shape)
        and (groups is None or groups.shape == scores.shape)
        and not ((pairs < 0) | (pairs >= len(scores))).any()
        and not ((rows < 0) | (rows >= n_rows)).any()
        and len(np.unique(rows)) == len(rows)
    )
    if not fits:
        raise ValueError("the arrays of an influence do not fit together")
    return Influence(
        scores, pairs.astype(np.intp), rows.astype(np.intp), identities, bool(data["stated"]),
        effects, arrays.get("edge"), None if groups is None else groups.astype(np.intp),
    )  # fmt: skip
