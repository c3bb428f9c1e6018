"""Text files: read the texts of a file or a folder, one a line, row, field or file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from dimscope.errors import BadSource, first_line
from dimscope.extras import needed
from dimscope.files import near

__all__ = ["read_texts"]


_TABLES = (".csv", ".tsv", ".parquet")


def read_texts(path: Path, field: str | None) -> list[str]:
    """Return the texts of a file or folder, with the blank ones."""
    if not path.exists():
        raise BadSource(f"there is no file or folder of texts {path}; correct the path")
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".txt":
        if field is not None:
            raise BadSource(f"{path} has no fields; omit field ({field!r})")
        return _read_folder(path) if path.is_dir() else _lines(path)
    if suffix in (".jsonl", ".json"):
        return _texts_among(path, _json_columns(path), field)
    if suffix in _TABLES:
        return _texts_among(path, _table_columns(path), field)
    raise BadSource(
        f"{path} is no file of texts; give .txt (one text a line), .jsonl, .json, .csv, .tsv, "
        ".parquet, or a folder of .txt files"
    )


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadSource(
            f"{path} is not UTF-8: line {line} holds the byte 0x{content[error.start]:02x}; "
            f"convert it, for example: iconv -f LATIN1 -t UTF-8 {path.name} > utf8{path.suffix}"
        ) from None


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in io.StringIO(_decoded(path), newline=None)]


def _read_folder(path: Path) -> list[str]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".txt")
    if not files:
        raise BadSource(f"{path} holds no .txt files; give a folder with one .txt file for a text")
    return [_decoded(file).strip() for file in files]


def _json_columns(path: Path) -> dict[str, list[Any]]:
    """Return the values of each field; texts without a field are in the field ""."""
    content = _decoded(path)
    records: list[Any]
    try:
        if path.suffix.lower() == ".json":
            whole = json.loads(content) if content.strip() else []
            records = whole if isinstance(whole, list) else [whole]
        else:
            records = []
            for number, line in enumerate(content.split("\n"), 1):
                if line.strip():
                    records.append(_json_line(line, number))
    except ValueError as error:
        raise BadSource(
            f"{path} is not JSON: {first_line(error)}; give one object a line (.jsonl), or a list "
            "of objects (.json)"
        ) from None
    names = list(
        dict.fromkeys(name for record in records if isinstance(record, dict) for name in record)
    )
    if all(isinstance(record, str) for record in records):
        return {"": records}
    if not all(isinstance(record, dict) for record in records):
        raise BadSource(
            f"{path} mixes objects with other values; give one object or one string for each text"
        )
    return {name: [record.get(name) for record in records] for name in names}


def _json_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {first_line(error)}") from None


def _table_columns(path: Path) -> dict[str, list[Any]]:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            with needed(str(path)):
                frame = pd.read_parquet(path)
            frame = frame.astype(object).where(frame.notna(), None)
            return {str(name): frame[name].tolist() for name in frame.columns}
        frame = pd.read_csv(
            io.StringIO(_decoded(path)),
            sep="\t" if path.suffix.lower() == ".tsv" else ",",
            dtype=str,
            keep_default_na=False,
        )
    except pd.errors.EmptyDataError:
        return {}
    except (pd.errors.ParserError, OSError) as error:
        raise BadSource(f"{path} is not a table: {first_line(error)}; correct the file") from None
    numbers = {name for name in frame if pd.to_numeric(frame[name], errors="coerce").notna().all()}
    return {
        str(name): [None] * len(frame) if name in numbers else frame[name].tolist()
        for name in frame.columns
    }


def _texts_among(path: Path, columns: dict[str, list[Any]], field: str | None) -> list[str]:
    """Return the values of the field with the texts; missing ones are blank."""
    strings = [
        name
        for name, values in columns.items()
        if all(value is None or isinstance(value, str) for value in values) and any(values)
    ]
    names = ", ".join(map(repr, filter(None, columns)))
    if field is not None and field not in columns:
        have = f"its fields are {names}" if names else "its texts have no fields: omit field"
        raise BadSource(f"{path} has no field {field!r}; {have}.{near(field, columns)}")
    if field is None:
        if not any(columns.values()):
            raise BadSource(f"{path} holds no text; give at least three texts, one a line or row")
        if len(strings) != 1:
            what = (
                f"several fields of text: {', '.join(map(repr, strings))}"
                if strings
                else f"no field of text, only {names}"
            )
            raise BadSource(f"{path} has {what}; name the one to read: field= (--field)")
        field = strings[0]
    if field not in strings and any(value is not None for value in columns[field]):
        raise BadSource(
            f"field {field!r} of {path} holds values that are not text; name one that does: "
            f"{', '.join(map(repr, strings)) or 'there is none'}"
        )
    return [value or "" for value in columns[field]]
