"""Profile: the dimension of every layer of a network.

A profile holds the estimates of every layer. It can be saved, loaded, tabulated, drawn, and
compared with others by its ``name``. Torch is never loaded.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dimscope.activations.activations import Layer
from dimscope.errors import BadSource
from dimscope.estimators.estimates import Estimate
from dimscope.estimators.influence_text import from_text, to_text
from dimscope.files import write_beside
from dimscope.html import table
from dimscope.profiles.differences import Differences, Pairing, differences_of
from dimscope.profiles.joint import simultaneous_intervals
from dimscope.profiles.peak import Peak, find_peak
from dimscope.profiles.trends import Trend, trend_of
from dimscope.provenance import Provenance
from dimscope.values import by_value, from_plain, to_plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["SCHEMA_VERSION", "Profile", "over_classes"]


SCHEMA_VERSION = 1


_T = TypeVar("_T")


_READOUTS = {
    "mean": "the mean over the tokens or positions of a stimulus",
    "max": "the maximum over the tokens or positions of a stimulus",
    "first": "the first token of a stimulus",
    "last": "the last token of a stimulus",
    "tokens": "a token of a stimulus",
}
_ENDS = {"input": -1, "output": 1}


@by_value
@dataclass(frozen=True, eq=False)
class Profile(Mapping[str, Estimate]):
    """The estimates of every layer, in order of depth.

    A mapping ``layer name -> Estimate`` for the first estimator; ``profile.of(name)`` returns the
    mapping for another estimator.

    Parameters
    ----------
    layers : tuple of Layer
    estimates : Mapping of str to Mapping of str to Estimate
        Estimator name -> layer name -> Estimate. A layer that could not be measured has dimension
        NaN and a ``reason``.
    name : str
        Name of the network.
    classes : Mapping of str to Profile
        The profile of each class by its name, or by its label as text (``"3"``), if measured by
        class; ``estimates`` then holds the means over the classes, and ``spread`` the standard
        deviations.
    spread : Mapping of str to Mapping of str to float
        Estimator name -> layer name -> standard deviation over the classes.
    companions : tuple of str
        What is shown beside the dimension: ``"distance"``, ``"hubness"``, ``"effective_rank"`` or
        ``"participation_ratio"`` (:meth:`beside`).

    Examples
    --------
    >>> p = Profile((Layer("input", "input"),), {"twonn": {"input": Estimate(3.0, 0.1)}})
    >>> p["input"], p.estimators
    (Estimate(3.00 ± 0.10, n=0), ('twonn',))
    >>> p.to_frame()[["layer", "dimension", "std_error"]].values.tolist()
    [['input', 3.0, 0.1]]
    """

    # the order of the estimators counts: the mapping is that of the first
    _compared = (
        "layers", "estimates", "estimators", "name", "classes", "spread", "companions",
        "provenance",
    )  # fmt: skip

    layers: tuple[Layer, ...]
    estimates: Mapping[str, Mapping[str, Estimate]]
    name: str = ""
    classes: Mapping[str, Profile] = field(default_factory=dict)
    spread: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=lambda: Provenance("profile"), repr=False)
    companions: tuple[str, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence[Profile]) -> Profile:
        """Join profiles of different layers that were measured on the same points.

        The layers keep their order, except that the input comes first and the output last.

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
                    (layer for part in parts for layer in part.layers),
                    key=lambda layer: _ENDS.get(layer.name, 0),
                )
            ),
            {key: _merged([part.estimates[key] for part in parts]) for key in first.estimates},
            first.name,
            {label: cls.joined([part.classes[label] for part in parts]) for label in first.classes},
            {key: _merged([part.spread[key] for part in parts]) for key in first.spread},
            first.provenance,
            first.companions,
        )

    @property
    def estimators(self) -> tuple[str, ...]:
        """Names of the estimators."""
        return tuple(self.estimates)

    def of(self, estimator: str) -> Mapping[str, Estimate]:
        """Return layer name -> Estimate for one estimator."""
        if estimator not in self.estimates:
            raise KeyError(
                f"there is no estimator {estimator!r}; the profile has {', '.join(self.estimators)}"
            )
        return self.estimates[estimator]

    def beside(self, companion: str) -> dict[str, float]:
        """Return layer name -> value of a companion of the first estimator.

        Parameters
        ----------
        companion : str
            One of :attr:`companions`.

        Examples
        --------
        >>> import dimscope as ds
        >>> from dimscope.manifolds import cube, embed
        >>> activations = ds.Activations({"a": embed(cube(500, 3), 20)})
        >>> profile = ds.profile(activations, companions=["distance", "effective_rank"])
        >>> round(profile.beside("effective_rank")["a"], 1)
        3.0
        """
        if companion not in self.companions:
            raise KeyError(
                f"there is no companion {companion!r}; the profile has "
                f"{', '.join(self.companions) or 'none'}, so measure it with "
                f"companions=[{companion!r}]"
            )
        if companion in self.estimates:
            return {layer: value.dimension for layer, value in self.of(companion).items()}
        return {layer: getattr(value, companion) for layer, value in self.items()}

    @property
    def is_of_saved_activations(self) -> bool:
        """Whether another program has made the activations, perhaps without a network."""
        return any("opened" in source.parameters for source in self.provenance.inputs)

    def __getitem__(self, layer: str) -> Estimate:
        estimates = self.of(self.estimators[0])
        if layer not in estimates:
            raise KeyError(f"there is no layer {layer!r}; the profile has {', '.join(estimates)}")
        return estimates[layer]

    def __iter__(self) -> Iterator[str]:
        return (layer.name for layer in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"Profile({self.name!r}, {len(self)} layers{classes}, {', '.join(self.estimators)})"

    def __str__(self) -> str:
        drawn = [name for name in self.estimators if name not in self.companions]
        width = max((len(layer.name) for layer in self.layers), default=0)
        rows = (
            (layer.name.ljust(width), *(str(self.of(name)[layer.name]) for name in drawn))
            for layer in self.layers
        )
        return "\n".join([repr(self), *("  ".join(row) for row in rows)])

    def _repr_html_(self) -> str:
        means = over_classes(self.values()) if self.classes else ""
        drawn = [name for name in self.estimators if name not in self.companions]
        rows = table(
            ("layer", "role", "depth", "features", *drawn, *self.companions),
            (
                (
                    *(layer.name, layer.role, layer.depth, layer.n_features),
                    *(self.of(name)[layer.name] for name in drawn),
                    *(f"{self.beside(name)[layer.name]:.3g}" for name in self.companions),
                )
                for layer in self.layers
            ),
            ", ".join(filter(None, (self.name, means))),
        )
        if all(math.isnan(estimate.dimension) for estimate in self.values()):
            return rows
        try:
            from dimscope.plotting.inline import inline_picture
        except ImportError:  # Matplotlib is not installed
            return rows
        return rows + inline_picture(self)

    def simultaneous(
        self, p: float = 0.95, estimator: str | None = None
    ) -> dict[str, tuple[float, float]]:
        """Compute intervals that hold for all layers at once, at level p.

        Parameters
        ----------
        p : float
            Probability that all dimensions lie in their intervals at once.
        estimator : str, optional
            Name of the estimator; the first by default.

        Returns
        -------
        dict of layer name -> (lower, upper)
            Only the layers that have a standard error.

        Notes
        -----
        The intervals are dimension * exp(± q std_error / dimension), where q is the quantile at p
        of the largest of all errors in units of their standard errors (max-t), from their joint
        law. Layers without influences of points (loaded from a file without them) get intervals at
        level p^(1/m) for m layers (Sidak): if the errors are normal, these hold at once with
        probability at least p, whatever the dependence between layers.

        Examples
        --------
        >>> layers = tuple(Layer(name) for name in "ab")
        >>> p = Profile(layers, {"twonn": {n: Estimate(10.0, 0.5) for n in "ab"}})
        >>> [round(bound, 2) for bound in p.simultaneous()["a"]]  # alone: 9.07, 11.03
        [8.94, 11.18]
        """
        with_error = {
            name: estimate
            for name, estimate in self._chosen(estimator).items()
            if math.isfinite(estimate.std_error)
        }
        return simultaneous_intervals(with_error, p)

    def _chosen(self, estimator: str | None) -> Mapping[str, Estimate]:
        return self.of(self.estimators[0] if estimator is None else estimator)

    # -- shape ------------------------------------------------------------------------

    def peak(self, estimator: str | None = None, *, p: float = 0.95) -> Peak:
        """Find the layers that may have the highest dimension, and the highest dimension.

        Parameters
        ----------
        estimator : str, optional
            Name of the estimator; the first by default.
        p : float
            Level of the set of layers and of the interval of the height.

        Returns
        -------
        Peak

        Raises
        ------
        BadPoints
            If no layer was measured, or the layers have no joint errors: influences of points are
            missing, or there are fewer than 10 points, or 3 classes.

        Notes
        -----
        What is compared is the mean of the estimator at this number of points, layer by layer; the
        points are a sample of stimuli, or the classes a sample of classes if the profile is by
        class.

        A layer is in the set unless the hypothesis that no other layer is higher is rejected at
        1 - p. The statistic is the largest difference to another layer, in units of its standard
        error; its quantile comes from the joint law of all differences (max-t). So the set
        contains the highest layer with probability p or more.

        The interval of the height inverts a test of the maximum, in which the dimensions of the
        other layers are shrunk towards their mean. It covers 93 % to 97 % at level 0.95, in flat
        profiles and in clear ones.

        References
        ----------
        M. Mogstad, J. P. Romano, A. M. Shaikh and D. Wilhelm, "Inference for ranks with
        applications to mobility across neighbourhoods and academic achievement across countries",
        Review of Economic Studies 91 (2024).

        Examples
        --------
        >>> from dimscope import Activations, profile
        >>> from dimscope.manifolds import cube
        >>> x = cube(500, 5)
        >>> profile(Activations({"a": x[:, :2], "b": x, "c": x[:, :2]})).peak().layers
        ('b',)
        """
        return find_peak(self._chosen(estimator), p)

    def differences(
        self, pairs: Pairing = "adjacent", estimator: str | None = None, *, p: float = 0.95
    ) -> Differences:
        """Compute the differences between layers, with p-values and intervals for all at once.

        Parameters
        ----------
        pairs : {"adjacent", "all"}
            Layers that follow each other, or all pairs of layers.
        estimator : str, optional
            Name of the estimator; the first by default.
        p : float
            Probability that all intervals hold at once.

        Returns
        -------
        Differences
            The later layer minus the earlier, for each pair; ``ds.difference(a, b)`` is a - b.

        Raises
        ------
        BadPoints
            As :meth:`peak`.

        Notes
        -----
        The standard error is that of :func:`dimscope.difference`. The intervals are
        difference ± q std_error, where q is the quantile at p of the largest of all errors in
        units of their standard errors (max-t), from their joint law.

        Examples
        --------
        >>> from dimscope import Activations, profile
        >>> from dimscope.manifolds import cube
        >>> x = cube(500, 5)
        >>> changes = profile(Activations({"a": x[:, :2], "b": x, "c": x[:, :2]})).differences()
        >>> [(change.difference > 0, change.p_adjusted < 1e-6) for change in changes]
        [(True, True), (False, True)]
        """
        return differences_of(self._chosen(estimator), pairs, p)

    def trend(
        self, estimator: str | None = None, *, tolerance: float = 0.1, end: float = 0.5
    ) -> Trend:
        """Test the shape of the profile: whether it rises then falls, is flat, or grows at the end.

        Parameters
        ----------
        estimator : str, optional
            Name of the estimator; the first by default.
        tolerance : float
            The profile counts as flat if the highest dimension exceeds the lowest by less than this
            fraction of the lowest.
        end : float
            The profile grows at its end if the last layer is above an earlier layer in this last
            part of the relative depth; 1 for all earlier layers. If the depths are unknown, the
            layers count as equally spaced.

        Returns
        -------
        Trend

        Raises
        ------
        BadPoints
            As :meth:`peak`, and if fewer than two layers were measured.

        Notes
        -----
        Each test has a level of its own; three tests at 5 % are not one. With t the difference of
        the logarithms of two dimensions divided by its standard error, and quantiles from the joint
        law of all differences (max-t):

        - *Rises then falls*: the largest t of any layer against the first, and against the last.
          The p-value is the larger of the two (an intersection-union test).
        - *Differs*: the largest absolute t of all pairs. A small p-value says that dimensions
          differ.
        - *Flat*: all pairs differ by less than the tolerance, each tested at full level (an
          intersection-union test). A small p-value says that the profile is flat.
        - *Grows at the end*: the largest t of the last layer against those in the end.

        References
        ----------
        R. L. Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24
        (1982).

        Examples
        --------
        >>> from dimscope import Activations, profile
        >>> from dimscope.manifolds import cube
        >>> x = cube(500, 5)
        >>> trend = profile(Activations({"a": x[:, :2], "b": x, "c": x[:, :2]})).trend()
        >>> trend.rises_then_falls.holds, trend.flat.holds, trend.grows_at_end.holds
        (True, False, False)
        """
        return trend_of(self.layers, self._chosen(estimator), tolerance, end)

    def to_frame(self) -> pd.DataFrame:
        """Convert to a tidy table: one row per layer and estimator (and class, if by class).

        Returns
        -------
        pandas.DataFrame
            Columns ``layer``, ``role``, ``depth``, ``relative_depth``, ``n_features``,
            ``estimator``, ``dimension``, ``std_error``, ``lower``, ``upper``, ``is_lower_bound``,
            ``reason`` (why a layer, or a class of a mean, could not be measured; otherwise empty),
            ``distance``, ``hubness`` and ``n_points``. A profile by class has three more columns:
            ``label`` holds the class, or ``mean`` for the mean over the classes, ``class_std``
            holds the standard deviation over the classes, and ``classes_are`` says whether the
            error of the mean is for random or fixed classes.
        """
        import pandas as pd

        if not self.classes:
            return pd.DataFrame(self._rows(), columns=_COLUMNS)
        rows = [{"label": k, **row} for k, p in self.classes.items() for row in p._rows()]
        for row in self._rows():
            spread = self.spread[row["estimator"]][row["layer"]]
            kind = self.of(row["estimator"])[row["layer"]].classes_are
            rows.append({"label": "mean", **row, "class_std": spread, "classes_are": kind})
        frame = pd.DataFrame(rows, columns=["label", *_COLUMNS, "class_std", "classes_are"])
        return frame.fillna({"classes_are": ""})

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for layer in self.layers:
            for estimator, estimates in self.estimates.items():
                estimate = estimates[layer.name]
                columns = asdict(layer)
                columns["layer"] = columns.pop("name")
                rows.append(
                    {
                        **columns,
                        "estimator": estimator,
                        "dimension": estimate.dimension,
                        "std_error": estimate.std_error,
                        "lower": estimate.interval[0],
                        "upper": estimate.interval[1],
                        "is_lower_bound": estimate.is_lower_bound,
                        "reason": estimate.reason,
                        "distance": estimate.distance,
                        "hubness": estimate.hubness,
                        "n_points": estimate.n_points,
                    }
                )
        return rows

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Plot the dimension against relative depth; see :func:`dimscope.plotting.plot_profile`."""
        from dimscope.plotting.profile_plots import plot_profile

        return plot_profile(self, ax, **style)

    def to_latex(self, estimator: str | None = None) -> str:
        r"""Write a LaTeX table: layer, depth, features, dimension with one standard error, points.

        Parameters
        ----------
        estimator : str, optional
            Name of the estimator; the first by default.

        Returns
        -------
        str
            A ``tabular`` with the rules of booktabs (``\usepackage{booktabs}``). Companions have
            columns of their own; a layer that was not measured has a dash.

        Examples
        --------
        >>> layer = Layer("fc_1", "hidden", 2, 1.0, 64)
        >>> p = Profile((layer,), {"twonn": {"fc_1": Estimate(3.0, 0.1, n_points=500)}})
        >>> print(p.to_latex().splitlines()[4])
        fc\_1 & 2 & 64 & $3.00 \pm 0.10$ & 500 \\
        """
        from dimscope.profiles.latex import latex_table

        estimates = self.of(self.estimators[0] if estimator is None else estimator)
        beside = {name: self.beside(name) for name in self.companions}
        return latex_table(self.layers, estimates, beside)

    def methods(self, estimator: str | None = None) -> str:
        """Describe in a sentence, for a methods section, how the profile was measured.

        Parameters
        ----------
        estimator : str, optional
            Name of the estimator; the first by default.

        Raises
        ------
        ValueError
            If no layer was measured.

        Examples
        --------
        >>> import dimscope as ds
        >>> from dimscope.manifolds import cube
        >>> profile = ds.profile(ds.Activations({"a": cube(500, 2)}, name="net"))
        >>> print(profile.methods()[:68])
        The intrinsic dimension of 1 layer of the network net (500 points) w
        """
        from dimscope.estimators.methods import how_measured, points_in

        estimates = self.of(self.estimators[0] if estimator is None else estimator).values()
        measured = [value for value in estimates if not math.isnan(value.dimension)]
        if not measured:
            raise ValueError("no layer of the profile was measured")
        layers = f"{len(measured)} layer{'s' * (len(measured) > 1)}"
        # activations that another program has saved need not be those of a network
        of = "of" if self.is_of_saved_activations else "of the network"
        return (
            f"The intrinsic dimension of {layers}{self.name and f' {of} {self.name}'} "
            f"({points_in(measured)}{self._read}) was {how_measured(measured)}."
        )

    @property
    def _read(self) -> str:
        """What a point is, if a network gave several vectors for each stimulus."""
        captured = [source.parameters for source in self.provenance.inputs]
        return next(
            (
                f", each {_READOUTS[parameters['readout']]}"
                for parameters in captured
                if parameters.get("readout") in _READOUTS
            ),
            "",
        )

    # -- files ------------------------------------------------------------------------

    def to_dict(self, *, influences: bool = False) -> dict[str, Any]:
        """Convert to what JSON can hold; NaN becomes None.

        Parameters
        ----------
        influences : bool
            Include the influence of each point, which :func:`dimscope.difference` needs.
        """
        layers = []
        for layer in self.layers:
            row: dict[str, Any] = to_plain(layer)
            for estimator, estimates in self.estimates.items():
                row[estimator] = estimates[layer.name].to_dict()
                if influences:
                    row[estimator]["influence"] = to_text(estimates[layer.name].influence)
                if self.classes:
                    row[estimator]["class_std"] = to_plain(self.spread[estimator][layer.name])
            layers.append(row)
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "estimators": list(self.estimators),
            "companions": list(self.companions),
            "layers": layers,
            "classes": {
                label: profile.to_dict(influences=influences)
                for label, profile in self.classes.items()
            },
            "provenance": self.provenance.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """Rebuild a profile from the result of :meth:`to_dict`.

        Raises
        ------
        BadSource
            If the schema version is not the one this dimscope reads.
        """
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BadSource(
                f"the profile has schema_version {version}, but this version of dimscope reads "
                f"{SCHEMA_VERSION}; make the profile again or use a matching version"
            )
        rows, estimators = data["layers"], data["estimators"]
        classes = {label: cls.from_dict(profile) for label, profile in data["classes"].items()}
        spread = {
            estimator: {row["name"]: row[estimator].get("class_std") for row in rows}
            for estimator in (estimators if classes else ())
        }
        means = {
            estimator: {row["name"]: _estimate_of(row[estimator]) for row in rows}
            for estimator in estimators
        }
        is_earlier = any("classes" not in row[name] for row in rows for name in estimators)
        return cls(
            from_plain(tuple[Layer, ...], rows),
            _of_random_classes(_with_classes(means, classes) if is_earlier else means)
            if classes
            else means,
            from_plain(str, data["name"]),
            classes,
            from_plain(dict[str, dict[str, float]], spread),
            Provenance.from_dict(data["provenance"]),
            from_plain(tuple[str, ...], data.get("companions", ())),
        )

    def save(self, path: str | os.PathLike[str], *, influences: bool = False) -> None:
        """Write the profile as JSON, whole or not at all.

        Parameters
        ----------
        path : path
        influences : bool
            Write the influence of each point as well, so that :func:`dimscope.difference` works on
            the loaded profile: for each point, layer and estimator, about 60 bytes if there are
            4000 points or more, and about 200 bytes if there are 500 or fewer.
        """
        text = json.dumps(self.to_dict(influences=influences), indent=1, allow_nan=False) + "\n"
        write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile that :meth:`save` wrote.

        Raises
        ------
        BadSource
            If the file does not exist, is not a profile, or is damaged.
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
                f"{path} is JSON but not a profile: schema_version or layers is missing"
            )
        try:
            return cls.from_dict(data)
        except BadSource:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadSource(f"{path} is damaged ({error!r}); make the profile again") from error


_COLUMNS = [
    "layer", "role", "depth", "relative_depth", "n_features",
    "estimator", "dimension", "std_error", "lower", "upper", "is_lower_bound", "reason",
    "distance", "hubness", "n_points",
]  # fmt: skip


def _merged(mappings: Iterable[Mapping[str, _T]]) -> dict[str, _T]:
    return {name: item for mapping in mappings for name, item in mapping.items()}


def _estimate_of(row: Mapping[str, Any]) -> Estimate:
    return replace(Estimate.from_dict(row), influence=from_text(row.get("influence")))


def _with_classes(
    means: Mapping[str, Mapping[str, Estimate]], classes: Mapping[str, Profile]
) -> dict[str, dict[str, Estimate]]:
    """Name the classes of each mean; files of earlier versions leave them out."""
    named: dict[str, dict[str, Estimate]] = {}
    for estimator, estimates in means.items():
        named[estimator] = {}
        for layer, mean in estimates.items():
            failed = tuple(
                title
                for title, profile in classes.items()
                if math.isnan(profile.of(estimator)[layer].dimension)
            )
            measured = tuple(title for title in classes if title not in failed)
            named[estimator][layer] = replace(mean, classes=measured, classes_failed=failed)
    return named


def _of_random_classes(
    means: Mapping[str, Mapping[str, Estimate]],
) -> dict[str, dict[str, Estimate]]:
    """Say that classes are random where a file does not: earlier versions knew no others."""
    return {
        estimator: {
            layer: mean if mean.classes_are else replace(mean, classes_are="random")
            for layer, mean in estimates.items()
        }
        for estimator, estimates in means.items()
    }


def over_classes(means: Iterable[Estimate]) -> str:
    """Say how many classes several means cover; the means may cover different classes.

    Examples
    --------
    >>> whole = Estimate(4.0, classes=("cat", "dog"))
    >>> over_classes([whole, Estimate(5.0, classes=("cat",), classes_failed=("dog",))])
    'mean over 1 to 2 of 2 classes'
    """
    means = list(means)
    means = [mean for mean in means if mean.classes] or means
    counts = [len(mean.classes) for mean in means]
    if min(counts) == max(counts):
        return means[0].over_classes
    total = len(means[0].classes) + len(means[0].classes_failed)
    return f"mean over {min(counts)} to {max(counts)} of {total} classes"
