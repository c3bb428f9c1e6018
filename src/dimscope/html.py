"""HTML tables: how values show themselves in a notebook.

Plain elements without colours or fonts, so that tables look like the notebook around them, dark or
light. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["between", "facts", "table"]

_LEFT = ' style="text-align: left"'
# a dollar sign in a name begins no formula
_TABLE = '<table class="tex2jax_ignore mathjax_ignore">'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Write a table with a row of headers; numbers are aligned by the notebook, words left.

    Parameters
    ----------
    columns : sequence of str
        The headers.
    rows : iterable of sequences
        One entry for each column, written by ``str``.
    caption : str
        A line above the table.

    Examples
    --------
    >>> "&lt;fc&gt;" in table(["layer"], [["<fc>"]])
    True
    """
    head = "".join(_cell("th", column) for column in columns)
    return f"{_TABLE}{_caption(caption)}<thead><tr>{head}</tr></thead>{_body(rows)}</table>"


def facts(rows: Iterable[tuple[str, object]], caption: str = "") -> str:
    """Write a table of names and values; a name without a value is left out.

    Examples
    --------
    >>> facts([("points", 3), ("reason", "")]).count("<tr>")
    1
    """
    shown = [(name, value) for name, value in rows if value not in ("", None)]
    return f"{_TABLE}{_caption(caption)}{_body(shown)}</table>"


def between(interval: tuple[float, float]) -> str:
    """Write an interval; empty if it has no bounds.

    Examples
    --------
    >>> between((10.031, 11.2)), between((math.nan, math.nan))
    ('10.03 to 11.2', '')
    """
    lower, upper = interval
    return "" if math.isnan(lower) else f"{lower:.4g} to {upper:.4g}"


def _caption(text: str) -> str:
    return f"<caption{_LEFT}>{escape(text)}</caption>" if text else ""


def _body(rows: Iterable[Sequence[object]]) -> str:
    lines = ("".join(_cell("td", entry) for entry in row) for row in rows)
    return f"<tbody>{''.join(f'<tr>{line}</tr>' for line in lines)}</tbody>"


def _cell(tag: str, entry: object) -> str:
    alignment = "" if isinstance(entry, int | float) else _LEFT
    return f"<{tag}{alignment}>{escape(str(entry))}</{tag}>"
