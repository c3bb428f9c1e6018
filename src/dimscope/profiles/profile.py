"""Profile: the dimension of every layer of a network.

A profile is what the estimators found, layer by layer; it never loads torch, can be
saved, loaded, tabulated, drawn, and compared with others by its ``name``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dimscope.activations.activations import Layer
from dimscope.errors import BadSource
from dimscope.estimators.estimates import Estimate
from dimscope.files import write_beside
from dimscope.provenance import Provenance
from dimscope.values import from_plain, to_plain, value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["SCHEMA_VERSION", "Profile"]


SCHEMA_VERSION = 1


_T = TypeVar("_T")


_ENDS = {"input": -1, "output": 1}


@value
@dataclass(frozen=True, eq=False)
class Profile(Mapping[str, Estimate]):
    """Estimates of every layer, in order of depth.

    A mapping ``layer name -> Estimate`` of the first estimator; ``profile.of(name)``
    gives those of another.

    Parameters
    ----------
    layers : tuple of Layer
    estimates : Mapping of str to Mapping of str to Estimate
        Estimator name -> layer name -> Estimate. A layer that could not be measured
        has the dimension NaN and a ``reason``.
    name : str
        Name of the network.
    classes : Mapping of str to Profile
        One profile for each class, if asked for; then ``estimates`` holds the means
        over the classes and ``spread`` their standard deviations.
    spread : Mapping of str to Mapping of str to float
        Estimator name -> layer name -> standard deviation over classes.

    Examples
    --------
    >>> p = Profile((Layer("input", "input"),), {"twonn": {"input": Estimate(3.0, 0.1)}})
    >>> p["input"], p.estimators
    (Estimate(3.00 ± 0.10, n=0), ('twonn',))
    >>> p.to_frame()[["layer", "dimension", "std_error"]].values.tolist()
    [['input', 3.0, 0.1]]
    """

    # with the order of the estimators, of which the first is that of the mapping
    _compared = (
        "layers", "estimates", "estimators", "name", "classes", "spread", "provenance",
    )  # fmt: skip

    layers: tuple[Layer, ...]
    estimates: Mapping[str, Mapping[str, Estimate]]
    name: str = ""
    classes: Mapping[str, Profile] = field(default_factory=dict)
    spread: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=lambda: Provenance("profile"), repr=False)

    @classmethod
    def joined(cls, parts: Sequence[Profile]) -> Profile:
        """One profile of the layers of several, which were measured with the same points.

        The layers keep their order, but that the input comes first and the output last.

        Examples
        --------
        >>> a, b = (Profile((Layer(n),), {"twonn": {n: Estimate(1.0)}}) for n in "ab")
        >>> list(Profile.joined([a, b]))
        ['a', 'b']
        """
        first = parts[0]
        if len(parts) == 1:
            return first
        return cls(
            tuple(
                sorted(
                    (layer for one in parts for layer in one.layers),
                    key=lambda layer: _ENDS.get(layer.name, 0),
                )
            ),
            {key: _merged([one.estimates[key] for one in parts]) for key in first.estimates},
            first.name,
            {label: cls.joined([one.classes[label] for one in parts]) for label in first.classes},
            {key: _merged([one.spread[key] for one in parts]) for key in first.spread},
            first.provenance,
        )

    @property
    def estimators(self) -> tuple[str, ...]:
        """Names of the estimators."""
        return tuple(self.estimates)

    def of(self, estimator: str) -> Mapping[str, Estimate]:
        """Layer name -> Estimate of one estimator."""
        if estimator not in self.estimates:
            raise KeyError(f"no estimator {estimator!r}; there are {', '.join(self.estimators)}")
        return self.estimates[estimator]

    def __getitem__(self, layer: str) -> Estimate:
        found = self.of(self.estimators[0])
        if layer not in found:
            raise KeyError(f"no layer {layer!r}; there are {', '.join(found)}")
        return found[layer]

    def __iter__(self) -> Iterator[str]:
        return (layer.name for layer in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        of = f", {len(self.classes)} classes" if self.classes else ""
        return f"Profile({self.name!r}, {len(self)} layers{of}, {', '.join(self.estimators)})"

    def simultaneous(
        self, p: float = 0.95, estimator: str | None = None
    ) -> dict[str, tuple[float, float]]:
        """Intervals that hold for all layers at once, at level p.

        Parameters
        ----------
        p : float
            Probability that no layer falls outside of its interval.
        estimator : str, optional
            The first by default.

        Returns
        -------
        dict of layer name -> (lower, upper)
            Of the layers that have a standard error.

        Notes
        -----
        Each of m layers has an interval at level p^(1/m) (Sidak): together they hold with
        probability at least p for normal errors, however the layers depend on each other.

        Examples
        --------
        >>> layers = tuple(Layer(name) for name in "ab")
        >>> p = Profile(layers, {"twonn": {n: Estimate(10.0, 0.5) for n in "ab"}})
        >>> [round(bound, 2) for bound in p.simultaneous()["a"]]  # one at 95 %: 9.07, 11.03
        [8.94, 11.18]
        """
        found = self.of(self.estimators[0] if estimator is None else estimator)
        known = {name: one for name, one in found.items() if math.isfinite(one.std_error)}
        return {name: one.interval_at(p ** (1 / len(known))) for name, one in known.items()}

    def to_frame(self) -> pd.DataFrame:
        """Tidy table: one row for each layer and estimator (and class).

        Returns
        -------
        pandas.DataFrame
            Columns ``layer``, ``role``, ``depth``, ``relative_depth``, ``n_features``,
            ``estimator``, ``dimension``, ``std_error``, ``lower``, ``upper``. By class
            there is a column ``label`` with one row a class, and the means over classes
            under the label ``mean``, whose ``class_std`` is the standard deviation.
        """
        import pandas as pd

        if not self.classes:
            return pd.DataFrame(self._rows(), columns=_COLUMNS)
        rows = [{"label": k, **row} for k, p in self.classes.items() for row in p._rows()]
        for row in self._rows():
            spread = self.spread[row["estimator"]][row["layer"]]
            rows.append({"label": "mean", **row, "class_std": spread})
        return pd.DataFrame(rows, columns=["label", *_COLUMNS, "class_std"])

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for layer in self.layers:
            for estimator, found in self.estimates.items():
                one = found[layer.name]
                described = asdict(layer)
                described["layer"] = described.pop("name")
                rows.append(
                    {
                        **described,
                        "estimator": estimator,
                        "dimension": one.dimension,
                        "std_error": one.std_error,
                        "lower": one.interval[0],
                        "upper": one.interval[1],
                    }
                )
        return rows

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw the dimension against relative depth; see :func:`dimscope.plotting.plot_profile`."""
        from dimscope.plotting.profile_plots import plot_profile

        return plot_profile(self, ax, **style)

    # -- files ------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Convert to what JSON can hold; NaN becomes None."""
        layers = []
        for layer in self.layers:
            row: dict[str, Any] = to_plain(layer)
            for estimator, estimates in self.estimates.items():
                row[estimator] = estimates[layer.name].to_dict()
                if self.classes:
                    row[estimator]["class_std"] = to_plain(self.spread[estimator][layer.name])
            layers.append(row)
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "estimators": list(self.estimators),
            "layers": layers,
            "classes": {label: profile.to_dict() for label, profile in self.classes.items()},
            "provenance": self.provenance.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """Convert back what :meth:`to_dict` made.

        Raises
        ------
        BadSource
            If another version wrote it.
        """
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BadSource(
                f"the profile has schema_version {version}, this dimscope reads {SCHEMA_VERSION}; "
                "make it again or use a matching version"
            )
        rows, estimators = data["layers"], data["estimators"]
        classes = {label: cls.from_dict(profile) for label, profile in data["classes"].items()}
        spread = {
            estimator: {row["name"]: row[estimator].get("class_std") for row in rows}
            for estimator in (estimators if classes else ())
        }
        return cls(
            from_plain(tuple[Layer, ...], rows),
            {
                estimator: {row["name"]: Estimate.from_dict(row[estimator]) for row in rows}
                for estimator in estimators
            },
            from_plain(str, data["name"]),
            classes,
            from_plain(dict[str, dict[str, float]], spread),
            Provenance.from_dict(data["provenance"]),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile as JSON, beside and renamed: a half-written file never appears."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile that :meth:`save` wrote.

        Raises
        ------
        BadSource
            If there is no such file, or it is not a profile.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadSource(f"there is no file {path}") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BadSource(f"{path} is not a profile: {error}") from None
        if not isinstance(data, dict) or "schema_version" not in data or "layers" not in data:
            raise BadSource(
                f"{path} is JSON but not a profile: it has no schema_version and layers"
            )
        try:
            return cls.from_dict(data)
        except BadSource:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadSource(f"{path} is damaged: {error!r} in what it says") from error


_COLUMNS = [
    "layer", "role", "depth", "relative_depth", "n_features",
    "estimator", "dimension", "std_error", "lower", "upper",
]  # fmt: skip


def _merged(mappings: Iterable[Mapping[str, _T]]) -> dict[str, _T]:
    return {name: item for mapping in mappings for name, item in mapping.items()}
