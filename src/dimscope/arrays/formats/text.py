"""Tables in text: find the delimiter and the header, and read the numbers.

Where a text can be read in two ways, the likelier is chosen with a warning, or the text is refused.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.formats.base import NOT_WHOLE, Arrays, damaged, saved_frame
from dimscope.arrays.frames import is_number, numbers_rows
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.errors import BadSource, GuessedReading, first_line, warn

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["TEXT_SUFFIXES", "list_text", "read_table", "read_within_budget", "table_in"]


_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

TEXT_SUFFIXES = tuple(
    f"{suffix}{packed}" for suffix in (".csv", ".tsv", ".txt") for packed in ("", *_OPENERS)
)


def list_text(path: Path) -> Arrays:
    """List the array in a table in text, which may be compressed."""
    opener = _OPENERS.get(path.suffix.lower(), open)
    try:
        with opener(path, "rb") as stream:
            data = read_within_budget(stream, str(path))
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise damaged(path, first_line(error)) from None
    return table_in(io.BytesIO(data), str(path))


_STEP = 1 << 24  # bytes


def read_within_budget(stream: IO[bytes], path: str) -> bytes:
    """Read a stream to its end, unless it holds more bytes than the memory budget.

    Parameters
    ----------
    stream : binary file
    path : str
        Name of the file, for messages.

    Raises
    ------
    OverBudget

    Examples
    --------
    >>> read_within_budget(io.BytesIO(b"1,2"), "x.csv")
    b'1,2'
    """
    budget = budget_from(None)
    parts, n_bytes = [], 0
    while part := stream.read(min(_STEP, budget + 1)):
        parts.append(part)
        n_bytes += len(part)
        what = f"reading the first {n_bytes / 1e9:.3g} GB of {path}"
        check_budget(n_bytes, budget, what, NOT_WHOLE)
    return b"".join(parts)


def table_in(stream: IO[bytes], path: str) -> Arrays:
    """List the array in a table in text.

    Parameters
    ----------
    stream : binary file
    path : str
        Name of the file, for messages.
    """
    frame, said = read_table(stream, path)
    return {"": saved_frame(frame, said)}


def read_table(stream: IO[bytes], path: str) -> tuple[pd.DataFrame, str]:
    r"""Read a table of numbers in text, and say how it was read.

    The delimiter and the header are found from the first lines.

    Parameters
    ----------
    stream : binary file
    path : str
        Name of the file, for messages.

    Returns
    -------
    frame : pandas.DataFrame
    said : str
        The delimiter, the header, and whether an index was left out.

    Raises
    ------
    BadSource
        If it is not a table, or if nothing tells whether its first line or column is part of it.

    Warns
    -----
    GuessedReading
        If it can be read in another way: the first line or column may be part of the points, or
        commas may separate thousands.

    Examples
    --------
    >>> frame, said = read_table(io.BytesIO(b"a;b\n1,5;2\n3,5;4\n"), "x.csv")
    >>> frame.to_numpy().tolist(), said
    ([[1.5, 2.0], [3.5, 4.0]], 'semicolons between columns; decimal commas; a header: a, b')
    """
    import pandas as pd

    text = _decoded(stream, path)
    start = _start(text)
    lines = _first_lines(text, start)
    if not lines:
        raise BadSource(f"{path} holds no table; write one row of numbers for each point")
    delimiter, words = _delimiter(lines)
    cells = _cells(lines[0], delimiter)
    is_comma = (
        delimiter != ","
        and not any("." in line for line in lines[1:])
        and any("," in line for line in lines[1:])
    )
    has_header = _is_header(cells, [_cells(line, delimiter) for line in lines[1:21]], path)
    if is_comma:
        _warn_of_thousands(lines[1:] if has_header else lines, delimiter, path)
    second = lines[1] if len(lines) > 1 else lines[0]
    widths = len(cells), len(_cells(second, delimiter))
    has_row_names = has_header and widths[1] == widths[0] + 1 and _names_rows(lines, delimiter)
    if widths[0] != widths[1] and not has_row_names:
        raise BadSource(
            f"{path}: the first line has {widths[0]} columns, but the second has {widths[1]}; "
            "write a header with one name for each column, or none"
        )
    try:
        frame = pd.read_csv(
            io.StringIO(text[start:]),
            sep=r"\s+" if delimiter is None else delimiter,
            header=0 if has_header else None,
            index_col=0 if has_row_names else False,
            decimal="," if is_comma else ".",
            **_exact(pd.__version__),
            skipinitialspace=True,
            low_memory=False,
        )
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = first_line(error).removeprefix("Error tokenizing data. C error: ")
        raise BadSource(f"{path} is not a table with equally long rows: {reason}") from None
    if frame.empty:
        raise BadSource(f"{path} holds no row of numbers; write one for each point")
    if delimiter is not None and cells[-1] == "" and frame.iloc[:, -1].isna().all():
        raise BadSource(
            f"{path}: the last column is empty; remove the {words} at the ends of the lines"
        )
    if frame.shape[1] != len(cells):
        raise BadSource(
            f"{path}: the first line has {len(cells)} columns, but {frame.shape[1]} were read; "
            "write the table again without quotes and empty cells"
        )
    if not has_header:
        _refuse_scale(frame, cells, path)
    said = [f"{words} between columns"]
    if is_comma:
        said.append("decimal commas")
    if has_header:
        names = [str(name) for name in frame.columns]
        said.append(f"a header: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}")
    else:
        said.append("no header")
    if has_row_names:
        said.append("the first column, the names of the rows, is left out")
    elif has_header and not cells[0] and frame.shape[1] > 1 and frame.dtypes.iloc[0].kind in "iuf":
        if frame.dtypes.iloc[0].kind == "f" or not numbers_rows(frame.iloc[:, 0]):
            raise BadSource(
                f"{path}: the first column has no name, and does not number the rows; write a name "
                "for it if it belongs to the points, or drop it"
            )
        frame = frame.iloc[:, 1:]
        warn(
            f"{path}: the first column has no name and numbers the rows, so it is left out; write "
            "a name for it if it belongs to the points, or drop it",
            GuessedReading,
        )
        said[-1] = "a header"
        said.append("the first column, which has no name and numbers the rows, is left out")
    return frame, "; ".join(said)


_HEAD = 1 << 20  # characters, from which the delimiter and the header are found


# a line, not the rest of one (n#1,n#2), and not a value that Excel could not compute
_COMMENT = re.compile(
    r"(?:\A|(?<=[\r\n]))[ \t]*#(?!(?:N/A|[A-Z]+(?:/0)?[!?])(?:[\s,;|]|\Z))[^\r\n]*"
)


_TEXT = bytes(code for code in range(256) if code >= 32 or code in b"\t\r\n\v\f")
_NO_TEXT = "is not text, but bytes; give it the suffix of its format"


def _decoded(stream: IO[bytes], path: str) -> str:
    data = stream.read()
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if data[:_HEAD].translate(None, _TEXT):
            raise BadSource(f"{path} {_NO_TEXT}") from None
        raise BadSource(
            f"{path} is not text in UTF-8 (byte {error.start}); write it again as UTF-8"
        ) from None
    if "\0" in text[:_HEAD]:
        raise BadSource(f"{path} {_NO_TEXT}")
    return _COMMENT.sub("", text) if "#" in text else text


def _start(text: str) -> int:
    """Return where the first line with cells begins."""
    start = 0
    while start < len(text):
        end = min(
            place % (len(text) + 1) for place in (text.find("\n", start), text.find("\r", start))
        )
        line = text[start:end].strip()
        # Excel states the delimiter in a first line such as sep=;
        if line and not line.startswith("sep="):
            break
        start = end + 1
    return start


def _first_lines(text: str, start: int) -> list[str]:
    """Return the first lines that are not empty, each of them whole."""
    size = _HEAD
    while True:
        lines = text[start : start + size].splitlines()
        is_part = start + size < len(text)
        if is_part:
            lines.pop()  # it may go on
        lines = [line for line in lines if line.strip()]
        if not is_part or len(lines) >= _ENOUGH:
            return lines
        size *= 2


_ENOUGH = 3  # a first line, and rows that tell whether it is a header


def _delimiter(lines: list[str]) -> tuple[str | None, str]:
    """Find what separates the columns; None stands for blanks."""
    line = lines[-1] if len(lines) < 3 else lines[1]
    # commas inside numbers, and blanks between them, leave no other reading
    parts = line.split()
    if len(parts) > 1 and "," in line and "\t" not in line and all(map(_COMMA_NUMBER.match, parts)):
        return None, "blanks"
    for delimiter, words in _DELIMITERS:
        if delimiter in line and (delimiter != "|" or delimiter in lines[0]):
            return delimiter, words
    return (None, "blanks") if len(line.split()) > 1 else (",", "commas")


_COMMA_NUMBER = re.compile(r"[-+]?\d+(,\d+)?([eE][-+]?\d+)?\Z")
_DELIMITERS = (("\t", "tabs"), (";", "semicolons"), ("|", "vertical bars"), (",", "commas"))


def _names_rows(lines: list[str], delimiter: str | None) -> bool:
    """Tell whether every line below the header begins with a name in quotes, as R writes them."""
    return all(line.startswith('"') for line in lines[1:]) and all(
        len(_cells(line, delimiter)) == len(_cells(lines[1], delimiter)) for line in lines[1:21]
    )


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error:  # a cell longer than any number or name
        return [cell.strip() for cell in line.split(delimiter)]


def _is_header(cells: list[str], rows: list[list[str]], path: str) -> bool:
    """Tell whether the cells of the first line are names, given the rows that follow.

    >>> _is_header(["1.5", "2"], [], ""), _is_header(["x", "y"], [], "")
    (False, True)
    >>> _is_header(["", "0", "1"], [], "")
    True
    """
    numbers = [cell.replace(",", ".") for cell in cells]
    # programs number columns without names; pandas puts an empty name before them for its index
    named = numbers[1:] if numbers and not numbers[0] else numbers
    n = len(named)
    if n > 1 and named in ([str(i) for i in range(n)], [str(i + 1) for i in range(n)]):
        fractions = [not cell.lstrip("-+").isdigit() for row in rows for cell in row[-n:] if cell]
        if len(named) < len(numbers):
            return True
        if any(fractions) or n >= _LONG:
            warn(
                f"{path}: the first line, {_some(cells)}, is read as the names of the columns; if "
                "it is a row, write a line of names above it",
                GuessedReading,
            )
            return True
        if len(rows) > 1:
            raise _may_be_names(cells, path)
    names = [place for place, cell in enumerate(numbers) if cell and not is_number(cell)]
    if not names or all(_NO_NAME.fullmatch(numbers[place]) for place in names):
        return False
    if len(names) == sum(map(bool, numbers)):
        return True
    # a name or two among numbers: what is below them tells
    below = [row[place] for row in rows for place in names if place < len(row)]
    return bool(below) and all(is_number(cell.replace(",", ".")) for cell in below)


# a missing value, a logical one, or a number that was too long to be printed
_NO_NAME = re.compile(r"na|n/a|#n/a|null|none|nil|true|false|-+|\*+|\?+|\.+", re.IGNORECASE)


_LONG = 6  # so many columns that no row of data counts from 0 or 1 by chance


def _exact(version: str) -> dict[str, Any]:
    """Return the option with which pandas rounds decimals correctly; since 3.1 it always does.

    >>> _exact("2.2.0"), _exact("3.1.0")
    ({'float_precision': 'round_trip'}, {})
    """
    major, minor = map(int, version.split(".")[:2])
    return {} if (major, minor) >= (3, 1) else {"float_precision": "round_trip"}


def _refuse_scale(frame: pd.DataFrame, cells: list[str], path: str) -> None:
    """Refuse a first row that looks like a header of wavelengths, years or other numbers.

    It holds different whole numbers, and each column below mostly fractions. Or it rises or falls
    in equal steps, or has many columns and rises or falls, unlike the second row; and each of its
    values lies outside the range of the column below.
    """
    n = frame.shape[1]
    if n < 2 or len(frame) <= _ENOUGH or any(dtype.kind not in "iuf" for dtype in frame.dtypes):
        return
    first, second = frame.iloc[:2].to_numpy(dtype=float)
    rest = frame.iloc[1:]
    # programs number columns; a row of data has fractions where the rows below have them
    is_whole = (first % 1 == 0).all() and len(set(first)) == n
    if is_whole and ((rest % 1 != 0).mean() > 0.5).all():
        raise _may_be_names(cells, path)
    if not _is_scale(first):
        return
    if not ((first < rest.min()) | (first > rest.max())).all():
        return
    # two numbers always lie in equal steps: only whole numbers above fractions look like names
    is_alike = (
        not all(cell.isdigit() for cell in cells) or bool((rest % 1 == 0).all(axis=None))
        if n == 2
        else _is_scale(second)
    )
    if not is_alike:
        raise _may_be_names(cells, path)


def _may_be_names(cells: list[str], path: str) -> BadSource:
    return BadSource(
        f"{path}: the first line, {_some(cells)}, may be the names of the columns or a row; "
        "replace it by names that are not numbers or, if it is a row, write such names above it"
    )


def _is_scale(values: NDArray[Any]) -> bool:
    """Tell whether numbers rise or fall, in equal steps unless they are many."""
    steps = np.diff(values)
    is_monotonic = bool((steps > 0).all() or (steps < 0).all())
    return is_monotonic and (len(values) >= _LONG or np.allclose(steps, steps[0], rtol=1e-6))


def _warn_of_thousands(lines: list[str], delimiter: str | None, path: str) -> None:
    """Warn if every comma may separate thousands, or the two coordinates of a point: 1,2 3,4."""
    cells = [cell.strip() for line in lines for cell in line.split(delimiter) if "," in cell]
    is_blank = delimiter is None
    if is_blank or all(_THOUSANDS.fullmatch(cell) for cell in cells):
        others = "thousands or columns, replace them" if is_blank else "thousands, remove them"
        warn(
            f"{path}: commas are read as decimal commas, so {cells[0]} is "
            f"{cells[0].replace(',', '.')}; if they separate {others}",
            GuessedReading,
        )


_THOUSANDS = re.compile(r'"?[-+]?[1-9]\d{0,2},\d{3}"?')


def _some(cells: list[str]) -> str:
    return ", ".join(cells[:4]) + (", ..." if len(cells) > 4 else "")
