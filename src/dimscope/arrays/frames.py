"""Data frames: convert them to NumPy.

A frame is points if every column holds numbers. A column of text is refused by its name: it may be
a column of numbers with one wrong value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints
from dimscope.extras import needed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "as_frame",
    "columns_of_lists",
    "frame_values",
    "is_frame",
    "is_number",
    "numbers_rows",
    "refuse_row_numbers",
]


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
    dtype = np.result_type(*parts)
    # pandas 2.2 writes NaN into integers even where nothing is missing
    missing = {"na_value": np.nan} if dtype.kind in "fc" else {}
    values: NDArray[Any] = frame.to_numpy(dtype=dtype, **missing)
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
            if value is None or is_number(value):
                continue
            what = "text" if isinstance(value, str) else f"a {type(value).__name__}"
            advice = _advice_on(value)
            raise BadPoints(
                f"column {name} holds {what}, not numbers: row {row} holds {_short(value)}; "
                f"{advice or 'drop the column'}"
                if row == 0
                else f"column {name} holds {what}: row {row} holds {_short(value)}; "
                f"{advice or 'correct the value, or drop the column'}"
            )
        raise BadPoints(
            f"column {name} holds Python objects, not numbers: row 0 holds a "
            f"{type(values[0]).__name__ if len(values) else 'nothing'}; convert the column to "
            "float64"
        )
    raise BadPoints(f"column {name} holds {dtype} values, not numbers; drop the column")


def _advice_on(value: Any) -> str:
    """Return how to write a value that is a number, or several, in another form; else nothing.

    >>> _advice_on("1.25D-01"), _advice_on("12,573.02"), _advice_on("x")
    ('write exponents with E instead of D', 'remove what separates the thousands', '')
    """
    if isinstance(value, Mapping):
        return "write each of its fields as a column"
    if not isinstance(value, str):
        return ""
    return next((advice for form, advice in _FORMS if form.fullmatch(value.strip())), "")


_FORMS = (
    (re.compile(r"[-+]?\d*\.?\d*[dD][-+]?\d+"), "write exponents with E instead of D"),
    (
        re.compile(r"[-+]?\d{1,3}(([,'\s]\d{3})+(\.\d*)?|(\.\d{3})+,\d*|(\.\d{3}){2,})"),
        "remove what separates the thousands",
    ),
    (re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?"), "write decimal points instead of commas"),
    (
        re.compile(r"[\[(]\s*[-+.\d].*", re.DOTALL),
        "it is a list of numbers written as text: save one column for each number",
    ),
)


def is_number(value: Any) -> bool:
    """Return whether a value is a number, or text that writes one.

    Examples
    --------
    >>> is_number("1e3"), is_number("a")
    (True, False)
    """
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not (isinstance(value, str) and "_" in value)  # Python's 1_000, elsewhere a name


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


def refuse_row_numbers(frame: pd.DataFrame) -> None:
    """Refuse a table with a column that numbers the rows, in order or shuffled.

    Examples
    --------
    >>> import pandas as pd
    >>> refuse_row_numbers(pd.DataFrame({"index": range(20), "x": np.ones(20)}))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: column 'index' numbers the rows (0, 1, 2, ...); drop the \
column (from a .csv file: cut -d, -f2- FILE)
    """
    if frame.shape[1] < 2 or len(frame) < _FEW:
        return
    numbering = [place for place in range(frame.shape[1]) if numbers_rows(frame.iloc[:, place])]
    if 0 < len(numbering) < frame.shape[1]:  # ranks number the rows in every column
        column = frame.iloc[:, numbering[0]]
        name = repr(column.name) if isinstance(column.name, str) else column.name
        start, *more = (f"{value:.0f}" for value in column.iloc[:3])
        advice = " (from a .csv file: cut -d, -f2- FILE)" if numbering[0] == 0 else ""
        raise BadPoints(
            f"column {name} numbers the rows ({', '.join([start, *more])}, ...); drop the "
            f"column{advice}"
        )


def numbers_rows(column: Any) -> bool:
    """Tell whether a column holds consecutive whole numbers, each once, in any order.

    Examples
    --------
    >>> import pandas as pd
    >>> numbers_rows(pd.Series([7, 5, 6])), numbers_rows(pd.Series([0.5, 1.5]))
    (True, False)
    """
    if not isinstance(column.dtype, np.dtype) or column.dtype.kind not in "iuf":
        return False
    values = column.to_numpy()
    low = values.min()
    if low % 1 != 0 or values.max() - low != len(values) - 1:  # NaN as well
        return False
    return bool((np.sort(values) - low == np.arange(len(values))).all())


_FEW = 10  # rows that may count from 0 or 1 by chance
