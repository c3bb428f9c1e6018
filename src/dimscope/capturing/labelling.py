"""Labelling: the labels of the rows of a store, written with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dimscope.folders import WHOLE, Folder, need_zarr

__all__ = ["add_labels"]

_CHUNK = 1 << 16


def add_labels(
    folder: Folder, known: dict[str, Any] | None, labels: np.ndarray[Any, Any] | None, start: int
) -> dict[str, Any] | None:
    """Write the labels of some rows; words are written as numbers.

    Parameters
    ----------
    folder : Folder
    known : dict or None
        What was returned for the rows before; empty before the first.
    labels : array of shape (n_rows,) or None
    start : int
        The first of the rows.

    Returns
    -------
    dict or None
        How to read them: their type, and the words that numbers stand for. None if some
        rows have no labels.

    Examples
    --------
    >>> folder = Folder("memory://labels.zarr")
    >>> known = add_labels(folder, {}, np.array(["cat", "dog"]), 0)
    >>> add_labels(folder, known, np.array(["dog", "ape"]), 2)["words"]
    ['cat', 'dog', 'ape']
    """
    if labels is None or known is None:
        return None
    zarr = need_zarr()
    if not known:
        known = {"dtype": labels.dtype.str, "words": [] if labels.dtype.kind == "U" else None}
        zarr.create_array(
            f"{folder}/labels",
            shape=(0,),
            chunks=(_CHUNK,),
            dtype="int64",
            compressors=None,
            overwrite=True,
        )
    if (known["words"] is None) != (labels.dtype.kind != "U"):
        return None  # words in one batch and numbers in another name no classes
    codes = labels
    if known["words"] is None:
        known = {**known, "dtype": np.result_type(known["dtype"], labels.dtype).str}
    else:
        words = list(dict.fromkeys([*known["words"], *labels.tolist()]))
        known = {**known, "words": words}
        place = {word: code for code, word in enumerate(words)}
        codes = np.array([place[word] for word in labels.tolist()])
    with zarr.config.set(WHOLE):
        array = zarr.open_array(f"{folder}/labels", mode="r+")
    array.resize((start + len(labels),))
    array[start:] = codes.astype(np.int64)
    return known
