"""Selection: which of the values of a network are wanted, by kind, name, pattern or function."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from dimscope.activations import Layer
from dimscope.capturing.structure import clean_name
from dimscope.errors import BadSource

__all__ = ["Layers", "Selection", "matches", "unknown_layer"]

Layers = str | Callable[[Layer], bool] | Sequence[str]

_KINDS = ("checkpoints", "all", "last_hidden")


class Selection:
    """What the caller asked for.

    Parameters
    ----------
    layers : str, sequence of str, or callable
        ``"checkpoints"``, ``"all"``, ``"last_hidden"``, a name, a glob pattern, several of
        them, or a function of a :class:`~dimscope.activations.Layer` that says yes or no.

    Raises
    ------
    BadSource
        If it is something else or empty.
    """

    def __init__(self, layers: Layers) -> None:
        self.accept: Callable[[Layer], bool] | None = None
        self.kinds: set[str] = set()
        self.patterns: list[str] = []
        if callable(layers):
            self.accept = layers
            self.text: str | list[str] = getattr(layers, "__qualname__", repr(layers))
            return
        words = [layers] if isinstance(layers, str) else layers
        if not isinstance(words, Iterable) or not all(isinstance(word, str) for word in words):
            raise BadSource(
                f"layers is {layers!r}; use 'checkpoints', 'all', 'last_hidden', names, "
                "patterns such as 'layer*', or a function of a Layer"
            )
        words = list(words)
        if not words:
            raise BadSource("layers is empty; name at least one layer, or use 'checkpoints'")
        self.text = layers if isinstance(layers, str) else words
        self.kinds = {word for word in words if word in _KINDS}
        self.patterns = list(dict.fromkeys(clean_name(w) for w in words if w not in _KINDS))

    @property
    def everything(self) -> bool:
        """Whether every value has to be kept at first."""
        return self.accept is not None or "all" in self.kinds

    @property
    def checkpoints(self) -> bool:
        """Whether the values of checkpoints have to be kept at first."""
        return "checkpoints" in self.kinds or "last_hidden" in self.kinds

    def names(self, name: str) -> bool:
        """Whether a pattern or a name of the caller's matches."""
        return any(matches(name, pattern) for pattern in self.patterns)

    def wants_output(self) -> bool:
        """Whether the output has to be kept at first."""
        return self.everything or "checkpoints" in self.kinds or self.names("output")

    def wants_input(self) -> bool:
        """Whether the input has to be kept at first."""
        return self.everything or "checkpoints" in self.kinds or self.names("input")


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match several names."""
    return bool(re.search(r"[*?]", pattern))


def matches(name: str, pattern: str) -> bool:
    """Whether a name is, or is matched by, a pattern. ``[1]`` in a plain name is meant literally.

    >>> matches("layer1.0", "layer*"), matches("lstm[1]", "lstm[1]"), matches("fc", "f")
    (True, True, False)
    """
    return name == pattern or (is_glob(pattern) and fnmatchcase(name, pattern))


def unknown_layer(pattern: str, seen: Sequence[str], idle: Sequence[str]) -> BadSource:
    """Error for a name that no executed layer has.

    Parameters
    ----------
    pattern : str
        What was asked for.
    seen : sequence of str
        Names of what was executed.
    idle : sequence of str
        Names of modules that exist but did not run.
    """
    if pattern in idle:
        return BadSource(
            f"module {pattern!r} exists but was not called, so it has no points; "
            f"there are {_listing(seen)}"
        )
    near = difflib.get_close_matches(pattern, seen, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return BadSource(f"no layer {pattern!r} was executed.{hint} There are {_listing(seen)}")


def _listing(names: Sequence[str], most: int = 40) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
