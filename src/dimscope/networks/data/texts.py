"""Texts: read texts from files, and turn them into tokens with the tokenizer of a network.

:func:`texts` reads strings. They become tokens when they are given with a network, as images are
preprocessed when they are: the tokenizer belongs to the weights.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from dimscope.errors import BadPoints, BadSource, CaptureWarning, first_line, warn
from dimscope.extras import needed
from dimscope.networks.data.text_files import read_texts
from dimscope.networks.preprocessing import source_of
from dimscope.networks.structure import unwrap

__all__ = ["Texts", "Tokens", "texts"]


_FEWEST = 3


@dataclass(frozen=True, eq=False)
class Texts(Sequence[str]):
    """Texts that become the tokens of a network when they are given with it.

    Parameters
    ----------
    values : tuple of str
        The texts, none of them blank.
    origin : str
        Where they come from, for messages.
    tokens : int, optional
        Take the first ``tokens`` tokens of each text.
    tokenizer : object, optional
        A tokenizer of transformers; that of the network by default.
    n_blank : int
        Number of blank texts that were skipped.

    Examples
    --------
    >>> print(texts(["Once upon a time", "", "there was a fox"]))
    2 texts of a list, 1 blank skipped
    """

    values: tuple[str, ...] = field(repr=False)
    origin: str
    tokens: int | None = None
    tokenizer: Any = field(default=None, repr=False)
    n_blank: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return replace(self, values=self.values[index])
        return self.values[index]

    def __str__(self) -> str:
        blank = f", {self.n_blank} blank skipped" if self.n_blank else ""
        return f"{_counted(len(self), 'text')} of {self.origin}{blank}"

    def encode(self, network: nn.Module) -> Tokens:
        """Turn the texts into tokens, as a network expects them.

        Parameters
        ----------
        network : torch.nn.Module

        Raises
        ------
        BadSource
            If the network has no tokenizer.
        BadPoints
            If fewer than three texts are left.

        Warns
        -----
        CaptureWarning
            If texts are skipped because they have fewer than ``tokens`` tokens, or are cut because
            the network does not take as many.
        """
        tokenizer = _tokenizer_of(network) if self.tokenizer is None else self.tokenizer
        return _encoded(self, tokenizer, _limit_of(network, tokenizer))


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of texts, read in batches that are padded on the right.

    Parameters
    ----------
    rows : sequence of list of int
        The tokens of each text.
    ids : array of int
        A hash of each row's text, so that the rows of other texts are not taken for the same.
    padding : int
        The token that fills a batch; the mask marks it.
    text : str
        What the rows are, in one line.
    """

    rows: Sequence[list[int]] = field(repr=False)
    ids: np.ndarray[Any, Any] = field(repr=False)
    padding: int
    text: str

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Iterable[int]) -> dict[str, Tensor]:
        """Return the rows with these numbers, and their mask, as the network takes them.

        Examples
        --------
        >>> tokens = Tokens([[5, 6], [7]], np.arange(2), 0, "two texts")
        >>> {name: values.tolist() for name, values in tokens.batch([0, 1]).items()}
        {'input_ids': [[5, 6], [7, 0]], 'attention_mask': [[1, 1], [1, 0]]}
        """
        chosen = [self.rows[int(number)] for number in numbers]
        lengths = torch.tensor([len(row) for row in chosen])
        width = int(lengths.max())
        padded = [row + [self.padding] * (width - len(row)) for row in chosen]
        mask = torch.arange(width) < lengths[:, None]
        return {"input_ids": torch.tensor(padded), "attention_mask": mask.long()}


def texts(
    path: str | os.PathLike[str] | Sequence[str],
    tokens: int | None = None,
    field: str | None = None,
    *,
    tokenizer: Any = None,
) -> Texts:
    """Read texts, the stimuli of a language model.

    Parameters
    ----------
    path : path or sequence of str
        A ``.txt`` file with one text a line; a ``.jsonl`` or ``.json`` file, a ``.csv`` or ``.tsv``
        table with a header, or a ``.parquet`` file with one text a row; a folder of ``.txt`` files
        with one text each; or the texts themselves. Files are UTF-8. Blank texts are skipped.
    tokens : int, optional
        Measure the first ``tokens`` tokens of each text, and skip texts that have fewer; tokens
        that the tokenizer adds, such as that for the beginning, are not counted. A single text is
        cut into consecutive parts of ``tokens`` tokens. By default, texts are used whole.
    field : str, optional
        The field or column that holds the texts; by default, the only one that holds strings.
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        By default, the tokenizer of the network: of ``hf/NAME`` in :func:`~dimscope.load_model`, or
        of the name or folder from which transformers loaded it.

    Returns
    -------
    Texts
        The data for :func:`~dimscope.profile` and :func:`~dimscope.capture`. The ids of the rows
        are hashes of the texts: with ``exclude="ids"``, tokens of one text are not each other's
        neighbours, and networks with different tokenizers can be compared on the same texts.

    Raises
    ------
    BadSource
        If the file is missing, is not UTF-8, holds no text, or ``field`` does not tell its texts.
    BadPoints
        If ``tokens`` is not a number of at least 1.

    Notes
    -----
    Texts that are cut after a fixed number of tokens end at a random place. Whole sentences often
    end with the same token, whose vectors lie close together.

    Examples
    --------
    >>> lines = texts(["Once upon a time", "there was a fox", "in a wood"], tokens=3)
    >>> len(lines), lines[1]
    (3, 'there was a fox')
    """
    if tokens is not None and (isinstance(tokens, bool) or tokens < 1):
        raise BadPoints(f"tokens is {tokens!r}; use a number of at least 1")
    if not isinstance(path, str | os.PathLike):
        if wrong := [value for value in path if not isinstance(value, str)]:
            raise BadSource(f"the texts hold a {type(wrong[0]).__name__}; give a list of strings")
        found, origin = list(path), "a list"
    else:
        place = Path(path)
        found, origin = read_texts(place, field), place.name
    kept = tuple(text for text in found if text.strip())
    if not kept:
        raise BadSource(f"{origin} holds no text; give at least three texts, one a line or row")
    return Texts(kept, origin, tokens, tokenizer, len(found) - len(kept))


def _tokenizer_of(model: nn.Module) -> Any:
    """Load the tokenizer that belongs to the weights of a network."""
    network = unwrap(model)
    source = source_of(network)
    if source is not None and source.spec.startswith("hf/"):
        name, revision = source.spec.removeprefix("hf/"), source.revision
    else:
        name = str(getattr(network, "name_or_path", "") or "")
        revision = getattr(getattr(network, "config", None), "_commit_hash", None)
    if not name:
        spec = type(network).__name__ if source is None else source.spec
        raise BadSource(
            f"{spec} names no tokenizer; in Python, give texts(path, tokenizer=...), or on the "
            "command line a model hf/NAME_OR_FOLDER"
        )
    options: dict[str, Any] = {"trust_remote_code": False}
    if revision is not None:
        options["revision"] = revision
    files = list(Path(name).glob("*.gguf")) if Path(name).is_dir() else [Path(name)]
    if len(files) == 1 and files[0].suffix == ".gguf" and not _has_tokenizer(Path(name)):
        name, options["gguf_file"] = str(files[0].parent), files[0].name
    elif Path(name).is_dir() and not _has_tokenizer(Path(name)):
        raise BadSource(
            f"the folder {name} has no tokenizer; save it there with "
            "tokenizer.save_pretrained(folder), or give texts(path, tokenizer=...)"
        )
    with needed(f"hf/{name}"):
        from transformers import AutoTokenizer
    try:
        return AutoTokenizer.from_pretrained(name, **options)
    except (OSError, RuntimeError, ValueError, ImportError, KeyError) as error:
        raise BadSource(
            f"the tokenizer of hf/{name} cannot be loaded ({first_line(error)}); save it beside "
            "the weights with tokenizer.save_pretrained(folder), or give texts(path, tokenizer=...)"
        ) from error


def _has_tokenizer(folder: Path) -> bool:
    names = ("tokenizer", "vocab", "spiece", "sentencepiece", "spm", "tekken")
    return folder.is_dir() and any(file.name.startswith(names) for file in folder.iterdir())


def _limit_of(model: nn.Module, tokenizer: Any) -> int | None:
    """Return how many tokens a network takes; None if that is unknown."""
    config: Any = getattr(unwrap(model), "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    limits = [
        getattr(tokenizer, "model_max_length", None),
        getattr(config, "max_position_embeddings", None),
        getattr(config, "n_positions", None),
    ]
    # a tokenizer without a limit has a huge number; networks without one have 0 or -1
    return min((n for n in limits if isinstance(n, int) and 0 < n < 10**9), default=None)


def _encoded(texts: Texts, tokenizer: Any, limit: int | None) -> Tokens:
    values = texts.values
    parts = list(_parts(values, tokenizer))
    lengths = np.array([len(body) for _, body, _ in parts])
    n_added = max(len(before) + len(after) for before, _, after in parts)
    room = None if limit is None else limit - n_added
    n, wanted = len(parts), texts.tokens
    if wanted is not None and room is not None and wanted > room:
        raise BadPoints(
            f"tokens is {wanted}, but the network takes {room} tokens of a text; ask for fewer"
        )
    if wanted is None:
        kept = [values[i] for i in np.flatnonzero(lengths)]
        most = int(lengths.max()) if room is None else room
        rows = [before + body[:most] + after for before, body, after in parts if body]
        if n_cut := int((lengths > most).sum()):
            warn(
                f"{_counted(n_cut, 'text')} of {n} exceed the {most} tokens that the network "
                "takes, and are cut there",
                CaptureWarning,
            )
        description = f"{_counted(len(rows), 'text')} of {texts.origin}, whole"
    elif n == 1:
        before, body, after = parts[0]
        starts = range(0, len(body) - wanted + 1, wanted)
        rows = [before + body[start : start + wanted] + after for start in starts]
        kept = [repr(row) for row in rows]
        description = (
            f"the text of {texts.origin} in {_counted(len(rows), 'part')} of {wanted} tokens"
        )
    else:
        enough = np.flatnonzero(lengths >= wanted)
        kept = [values[i] for i in enough]
        rows = [
            before + body[:wanted] + after for before, body, after in (parts[i] for i in enough)
        ]
        description = (
            f"the first {wanted} tokens of {_counted(len(rows), 'text')} of {texts.origin}"
        )
        if len(rows) < n:
            description += f", {n - len(rows)} with fewer skipped"
    if len(rows) < _FEWEST:
        raise BadPoints(_too_few(texts, lengths, len(rows)))
    if wanted is not None and 1 < n > len(rows):
        warn(
            f"{n - len(rows)} of {_counted(n, 'text')} have fewer than {wanted} tokens, and are "
            "skipped",
            CaptureWarning,
        )
    padding = next(
        (token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None),
        0,
    )
    return Tokens(rows, np.array([_id_of(text) for text in kept]), int(padding), description)


def _id_of(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # int64 has 63 bits


def _parts(
    values: Sequence[str], tokenizer: Any
) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Yield, for each text, the tokens added before, those of the text, and those added after."""
    # without "verbose", long texts are reported even if they are cut afterwards
    encoded = tokenizer(
        list(values),
        return_special_tokens_mask=True,
        return_attention_mask=False,
        verbose=False,
    )
    for ids, added in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        own = [place for place, is_added in enumerate(added) if not is_added] or [len(ids)]
        first, last = own[0], own[-1] + 1
        yield list(ids[:first]), list(ids[first:last]), list(ids[last:])


def _too_few(texts: Texts, lengths: np.ndarray[Any, Any], n_rows: int) -> str:
    n, wanted = len(lengths), texts.tokens
    if wanted is None:
        hint = "; give tokens=, such as tokens=20, to cut the text into parts" if n == 1 else ""
        return (
            f"{texts.origin} holds {_counted(n_rows, 'text')}, but at least {_FEWEST} are needed"
            f"{hint or ', and hundreds for a precise dimension; give more'}"
        )
    if n == 1:
        return (
            f"the text of {texts.origin} has {lengths[0]} tokens, which make {n_rows} parts of "
            f"{wanted}; at least {_FEWEST} are needed: give a longer text, or fewer tokens"
        )
    return (
        f"only {n_rows} of {_counted(n, 'text')} of {texts.origin} have {wanted} tokens or more; "
        f"ask for fewer (half of them have {int(np.median(lengths))}), or, if the lines are those "
        "of one text, put the file into a folder and give the folder"
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
