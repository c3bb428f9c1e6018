"""Tables: convert data frames to NumPy, and read tables in text files.

A table is points if every column holds numbers. A column of text is refused by its name: it may be
a column of numbers with one wrong value. Where a text can be read in two ways, the likelier is
chosen with a warning, or the text is refused.
"""

from __future__ import annotations

import csv
import io
import re
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints, BadSource, GuessedReading, first_line, warn
from dimscope.extras import needed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "as_frame", "columns_of_lists", "frame_values", "is_frame", "read_table",
    "refuse_row_numbers",
]  # fmt: skip


def is_frame(value: Any) -> bool:
    """Return whether a value is a pandas frame.

    Examples
    --------
    >>> is_frame(np.eye(2))
    False
    """
    return hasattr(value, "iloc") and hasattr(value, "columns")


def as_frame(value: Any) -> Any:
    """Convert a table of polars or pyarrow to a pandas frame; return anything else unchanged.

    Raises
    ------
    MissingExtra
        If pyarrow, which converts it, is not installed.

    Examples
    --------
    >>> as_frame([[1.0, 2.0]])
    [[1.0, 2.0]]
    """
    is_table = hasattr(value, "__arrow_c_stream__") and hasattr(value, "columns")
    if is_frame(value) or not is_table:
        return value
    with needed(f"a {type(value).__name__}"):
        import pyarrow
    return pyarrow.table(value).to_pandas()


def frame_values(frame: Any) -> NDArray[Any]:
    """Convert a pandas frame of numbers to NumPy; missing values become NaN.

    Parameters
    ----------
    frame : pandas.DataFrame

    Raises
    ------
    BadPoints
        If a column does not hold numbers, or the first one numbers the rows; the message names the
        column.

    Examples
    --------
    >>> import pandas as pd
    >>> frame_values(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})).tolist()
    [[1.0, 0.5], [2.0, 1.5]]
    >>> frame_values(pd.DataFrame({"a": [1, 2], "id": ["x", "y"]}))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: column 'id' holds text, not numbers: row 0 holds 'x'; drop the column
    """
    parts = [_column_dtype(frame.iloc[:, number]) for number in range(frame.shape[1])]
    if not parts:
        return np.empty((len(frame), 0))
    refuse_row_numbers(frame)
    values: NDArray[Any] = frame.to_numpy(dtype=np.result_type(*parts), na_value=np.nan)
    return values


def _column_dtype(column: Any) -> np.dtype[Any]:
    """Return the NumPy dtype of a column of numbers, or explain why it holds none."""
    dtype: Any = column.dtype
    # nullable and Arrow types; a sparse column
    plain = getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype))
    if isinstance(plain, np.dtype) and plain.kind in "biufc":
        is_nullable = not isinstance(dtype, np.dtype)
        return np.dtype(float) if is_nullable and column.isna().any() else plain
    name = repr(column.name) if isinstance(column.name, str) else column.name
    values = column.to_numpy(dtype=object, na_value=None)
    if str(dtype) in ("object", "string", "str", "large_string[pyarrow]", "string[pyarrow]"):
        for row, value in enumerate(values):
            if value is None or _is_number(value):
                continue
            what = "text" if isinstance(value, str) else f"a {type(value).__name__}"
            raise BadPoints(
                f"column {name} holds {what}, not numbers: row {row} holds {_short(value)}; "
                "drop the column"
                if row == 0
                else f"column {name} holds {what}: row {row} holds {_short(value)}; "
                "correct the value, or drop the column"
            )
        raise BadPoints(
            f"column {name} holds Python objects, not numbers: row 0 holds a "
            f"{type(values[0]).__name__ if len(values) else 'nothing'}; convert the column to "
            "float64"
        )
    raise BadPoints(f"column {name} holds {dtype} values, not numbers; drop the column")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."


def columns_of_lists(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the columns whose values are lists or arrays, such as embeddings.

    Parameters
    ----------
    frame : pandas.DataFrame
    """
    columns = {}
    for number, name in enumerate(frame.columns):
        column = frame.iloc[:, number]
        if column.dtype != object:
            continue
        values = column.dropna()
        if len(values) and isinstance(values.iloc[0], np.ndarray | list):
            columns[str(name)] = column
    return columns


# -- text --------------------------------------------------------------------------------------


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
        delimiter == ";"
        and not any("." in line for line in lines[1:])
        and any("," in line for line in lines[1:])
    )
    has_header = _is_header(cells, [_cells(line, delimiter) for line in lines[1:21]], path)
    if is_comma:
        _warn_of_thousands(lines[1:] if has_header else lines, path)
    second = lines[1] if len(lines) > 1 else lines[0]
    widths = len(cells), len(_cells(second, delimiter))
    if widths[0] != widths[1]:
        raise BadSource(
            f"{path}: the first line has {widths[0]} columns, but the second has {widths[1]}; "
            "write a header with one name for each column, or none"
        )
    try:
        frame = pd.read_csv(
            io.StringIO(text[start:]),
            sep=r"\s+" if delimiter is None else delimiter,
            header=0 if has_header else None,
            index_col=False,
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
    if has_header and not cells[0] and frame.shape[1] > 1 and frame.dtypes.iloc[0].kind in "iuf":
        if not _numbers_rows(frame.iloc[:, 0]):
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


def refuse_row_numbers(frame: pd.DataFrame) -> None:
    """Refuse a table whose first column numbers the rows.

    Examples
    --------
    >>> import pandas as pd
    >>> refuse_row_numbers(pd.DataFrame({"index": range(20), "x": np.ones(20)}))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: column 'index' numbers the rows (0, 1, 2, ...); drop the column
    """
    if frame.shape[1] < 2 or len(frame) < _FEW:
        return
    column = frame.iloc[:, 0]
    if column.dtype.kind not in "iu":
        return
    values = column.to_numpy()
    first = int(values[0])
    if first in (0, 1) and (values == np.arange(len(values)) + first).all():
        name = repr(column.name) if isinstance(column.name, str) else column.name
        raise BadPoints(
            f"column {name} numbers the rows ({first}, {first + 1}, {first + 2}, ...); drop the "
            "column"
        )


_FEW = 10  # rows that may count from 0 or 1 by chance


_HEAD = 1 << 20  # characters, from which the delimiter and the header are found


_COMMENT = re.compile(r"(?:\A|(?<=[\r\n]))[ \t]*#[^\r\n]*")  # a line, not the rest of one: n#1,n#2


def _decoded(stream: IO[bytes], path: str) -> str:
    data = stream.read()
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadSource(
            f"{path} is not text in UTF-8 (byte {error.start}); write it again as UTF-8"
        ) from None
    if "\0" in text[:_HEAD]:
        raise BadSource(f"{path} is not text, but bytes; give it the suffix of its format")
    return _COMMENT.sub("", text) if "#" in text else text


def _start(text: str) -> int:
    """Return where the first line with cells begins."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
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
    for delimiter, words in (("\t", "tabs"), (";", "semicolons"), (",", "commas")):
        if delimiter in line:
            return delimiter, words
    return (None, "blanks") if len(line.split()) > 1 else (",", "commas")


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
    return not any(_is_number(cell) for cell in numbers if cell) and any(numbers)


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

    It rises or falls in equal steps, or has many columns and rises or falls, unlike the second row;
    and each of its values lies outside the range of the column below.
    """
    n = frame.shape[1]
    if n < 2 or len(frame) <= _ENOUGH or any(dtype.kind not in "iuf" for dtype in frame.dtypes):
        return
    first, second = frame.iloc[:2].to_numpy(dtype=float)
    if not _is_scale(first):
        return
    rest = frame.iloc[1:]
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


def _warn_of_thousands(lines: list[str], path: str) -> None:
    """Warn if every comma may separate thousands."""
    cells = [cell.strip() for line in lines for cell in line.split(";") if "," in cell]
    if all(_THOUSANDS.fullmatch(cell) for cell in cells):
        warn(
            f"{path}: commas are read as decimal commas, so {cells[0]} is "
            f"{cells[0].replace(',', '.')}; if they separate thousands, remove them",
            GuessedReading,
        )


_THOUSANDS = re.compile(r'"?[-+]?[1-9]\d{0,2},\d{3}"?')


def _some(cells: list[str]) -> str:
    return ", ".join(cells[:4]) + (", ..." if len(cells) > 4 else "")


def _numbers_rows(column: Any) -> bool:
    """Tell whether a column holds consecutive whole numbers, in any order."""
    if column.dtype.kind not in "iu":
        return False
    values = np.sort(column.to_numpy())
    return bool((values == np.arange(len(values)) + values[0]).all())
