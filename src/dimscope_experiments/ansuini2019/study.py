"""Study: the settings of a run, where its results go, and its verdicts on the claims."""

from __future__ import annotations

import hashlib
import json
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dimscope as ds
from dimscope.files import write_beside
from dimscope.provenance import NUMBERS, versions

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["SCALES", "Claim", "Study", "judged"]

SCALES = ("smoke", "small", "paper")
VERDICTS = ("shown", "refuted", "not testable here")


@dataclass(frozen=True)
class Claim:
    """The verdict of a figure on one claim of the paper.

    Parameters
    ----------
    number : int
        Number in the list of claims.
    says : str
        The claim.
    verdict : {"shown", "refuted", "not testable here"}
    measured : str
        The measured values behind the verdict.
    """

    number: int
    says: str
    verdict: str
    measured: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is {self.verdict!r}; use one of {', '.join(VERDICTS)}")


def judged(number: int, says: str, holds: bool, measured: str) -> Claim:
    """Return a measured claim, with the verdict shown if it holds, else refuted."""
    return Claim(number, says, "shown" if holds else "refuted", measured)


@dataclass(frozen=True)
class Study:
    """A run of the experiments at one scale.

    Parameters
    ----------
    scale : {"smoke", "small", "paper"}
    out : Path
        Folder for the results.
    cache : Path
        Folder for trained networks and rendered images.
    data, weights : Path, optional
        Folders with data sets and with weights; by default, torchvision downloads them.
    progress : callable
        ``progress(step, done, total)``.
    """

    scale: str
    out: Path
    cache: Path
    data: Path | None = None
    weights: Path | None = None
    progress: Callable[[str, float, float | None], None] = field(
        default=lambda step, done, total: None, repr=False
    )

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale is {self.scale!r}; use one of {', '.join(SCALES)}")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings for this scale."""
        text = files(__package__).joinpath("settings.toml").read_text(encoding="utf-8")
        found: dict[str, Any] = tomllib.loads(text)[self.scale]
        return found

    def of(self, figure: str) -> dict[str, Any]:
        """Return the settings of a figure, with the seed and the settings it shares with others."""
        every = self.settings
        own = every.get(figure, {})
        return {"seed": every["seed"], **own, **{name: every[name] for name in own.get("uses", ())}}

    def folder(self, figure: str) -> Path:
        """Return the folder for the results of a figure, and create it if it is missing."""
        path = self.out / figure
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ds.BadSource(f"cannot make the folder {path}: {error.strerror}") from None
        return path

    def is_done(self, figure: str) -> bool:
        """Whether the figure has results with the current settings."""
        path = self.out / figure / "record.json"
        if not path.exists():
            return False
        record = json.loads(path.read_text(encoding="utf-8"))
        return bool(record["scale"] == self.scale and record["settings"] == self.of(figure))

    def run(self, figure: str, measure: Callable[[Study], Mapping[str, Any]]) -> None:
        """Measure a figure and write its record: settings, versions, time, claims."""
        start = time.monotonic()
        found = dict(measure(self))
        record = {
            "figure": figure,
            "scale": self.scale,
            "settings": self.of(figure),
            "numbers": NUMBERS,
            "versions": versions("scipy", "torch", "torchvision"),
            "seconds": round(time.monotonic() - start, 1),
            "claims": [asdict(claim) for claim in found.pop("claims", ())],
            **found,
        }
        text = json.dumps(record, indent=1) + "\n"
        write_beside(
            self.folder(figure) / "record.json",
            lambda beside: beside.write_text(text, encoding="utf-8"),
        )

    def table(self, figure: str, name: str, frame: pd.DataFrame) -> None:
        """Write numbers as CSV."""
        write_beside(
            self.folder(figure) / f"{name}.csv",
            lambda beside: frame.to_csv(beside, index=False, float_format="%.6g"),
        )

    def picture(self, figure: str, drawn: Figure) -> None:
        """Write the image file of a figure."""
        write_beside(
            self.folder(figure) / f"{figure}.png", lambda beside: drawn.savefig(beside, dpi=150)
        )

    def kept(self, kind: str, settings: Mapping[str, Any]) -> Path:
        """Return the cache folder for results of these settings, and create it if it is missing."""
        text = json.dumps(dict(settings), sort_keys=True)
        path = self.cache / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        path.mkdir(parents=True, exist_ok=True)
        write_beside(
            path / "settings.json", lambda beside: beside.write_text(text, encoding="utf-8")
        )
        return path

    def weights_of(self, name: str) -> Path | None:
        """Return the file with the weights of a network in the weights folder, if there is one."""
        files = () if self.weights is None else sorted(self.weights.glob(f"{name}*"))
        # vgg16* also matches vgg16_bn
        return next((p for p in files if re.split(r"[-.]", p.name)[0] == name), None)

    def present(self, *names: str) -> Path | None:
        """Return the path of the first of several names that exists in the data folder."""
        paths = ((self.data or Path()) / name for name in names)
        return next((path for path in paths if path.exists()), None)

    def find(self, what: str, *names: str) -> Path:
        """Return the path of the first of several names that exists in the data folder.

        Raises
        ------
        BadSource
            If none of them exists.
        """
        folder = self.data or Path()
        if (path := self.present(*names)) is not None:
            return path
        raise ds.BadSource(
            f"{what}: there is no {' or '.join(names)} in {folder.resolve()}; give --data FOLDER"
        )
