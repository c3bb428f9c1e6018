"""Contents: collect what a report shows, as data that JSON can hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dimscope.analysis.scale import ScaleCurve
from dimscope.digits import with_error
from dimscope.errors import BadPoints
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE
from dimscope.estimators.spectra import Spectrum
from dimscope.plotting.figures import COLOURS
from dimscope.profiles.diagnosis.diagnose import diagnose
from dimscope.profiles.diagnosis.findings import Finding
from dimscope.profiles.profile import Profile, over_classes
from dimscope.provenance import versions
from dimscope.values import to_plain

__all__ = ["contents_of"]

_EIGENVALUES = 200  # At most so many of a spectrum are drawn, evenly spaced on a logarithmic axis.


def contents_of(
    profiles: Sequence[Profile],
    curves: Mapping[str, Any] | None = None,
    spectra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Collect what the page shows; see :func:`dimscope.report`.

    Examples
    --------
    >>> from dimscope import Estimate, Layer
    >>> net = Profile((Layer("a"),), {"twonn": {"a": Estimate(3.0, 0.1)}}, "net")
    >>> contents = contents_of([net, net])
    >>> contents["title"], [network["name"] for network in contents["networks"]]
    ('Intrinsic dimension of 2 networks', ['net (1)', 'net (2)'])
    """
    if not profiles:
        raise ValueError("there are no profiles; give at least one")
    for profile in profiles:
        if not isinstance(profile, Profile):
            raise TypeError(f"{profile!r} is not a Profile; ds.Profile.load reads one from a file")
    names = _distinct([profile.name or "network" for profile in profiles])
    subject = names[0] if len(names) == 1 else f"{len(names)} networks"
    contents: dict[str, Any] = {
        "title": f"Intrinsic dimension of {subject}",
        "version": versions()["dimscope"],
        "colours": COLOURS,
        "lower_bound_above": LOWER_BOUND_ABOVE,
        "networks": [
            _network(name, profile) for name, profile in zip(names, profiles, strict=True)
        ],
        "curves": [
            _curve(curve) | {"network": number, "layer": layer}
            for number, layer, value in _placed(curves, "curves", names, profiles)
            for curve in ([value] if isinstance(value, ScaleCurve) else value)
        ],
        "spectra": [
            _spectrum(value) | {"network": number, "layer": layer}
            for number, layer, value in _placed(spectra, "spectra", names, profiles)
        ],
    }
    plain: dict[str, Any] = to_plain(contents)
    return plain


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the names that occur several times."""
    total, count = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        count[name] += 1
        numbered.append(f"{name} ({count[name]})" if total[name] > 1 else name)
    return numbered if len(set(numbered)) == len(names) else _distinct(numbered)


def _placed(
    given: Mapping[str, Any] | None, option: str, names: list[str], profiles: Sequence[Profile]
) -> Iterator[tuple[int, str, Any]]:
    """Yield (number of the profile, layer, value) for what belongs to layers."""
    if not given:
        return
    if not all(isinstance(value, Mapping) for value in given.values()):
        if len(profiles) > 1:
            raise ValueError(
                f"{option} of {len(profiles)} profiles are given by their names, such as "
                f"{option}={{{names[0]!r}: {{{next(iter(given))!r}: ...}}}}"
            )
        given = {names[0]: given}
    for name, by_layer in given.items():
        if name not in names:
            raise ValueError(
                f"{option} name the profile {name!r}; the report has {', '.join(names)}"
            )
        number = names.index(name)
        for layer, value in by_layer.items():
            if layer not in profiles[number]:
                raise ValueError(
                    f"{option} name the layer {layer!r}; the profile {name!r} has "
                    f"{', '.join(profiles[number])}"
                )
            yield number, layer, value


def _network(name: str, profile: Profile) -> dict[str, Any]:
    estimates = list(profile.values())
    diagnosis = diagnose(profile)
    measured = [estimate for estimate in estimates if not math.isnan(estimate.dimension)]
    return {
        "name": name,
        "n_points": max((estimate.n_points for estimate in estimates), default=0),
        "classes": over_classes(estimates) if profile.classes else "",
        "layers": profile.layers,
        "estimators": [key for key in profile.estimators if key not in profile.companions],
        "rows": _rows(profile),
        "findings": [_finding(finding) for finding in diagnosis],
        "errors": diagnosis.errors,
        "differences": _differences(profile),
        "methods": _methods(profile),
        "provenance": profile.provenance,
        "estimate": measured[0].provenance if measured else None,
    }


def _methods(profile: Profile) -> str:
    try:
        return profile.methods()
    except ValueError:  # nothing was measured, or the estimates do not say how
        return ""


def _finding(finding: Finding) -> dict[str, Any]:
    numbers = {name: {"text": str(number)} for name, number in finding.numbers.items()}
    return {**vars(finding), "numbers": numbers}


def _rows(profile: Profile) -> list[dict[str, Any]]:
    """Return the rows of ``profile.to_frame()``, of the means if it is by class."""
    frame = profile.to_frame()
    if profile.classes:
        frame = frame[frame["label"] == "mean"].drop(columns="label")
    rows = [
        {str(column): value for column, value in row.items()} for row in frame.to_dict("records")
    ]
    for row in rows:
        estimate = profile.of(row["estimator"])[row["layer"]]
        row["text"] = str(estimate)
    return rows


def _differences(profile: Profile) -> dict[str, Any]:
    try:
        differences = profile.differences()
    except BadPoints as error:
        return {"rows": [], "reason": str(error)}
    return {
        "rows": [
            row | {"text": with_error(row["difference"], row["std_error"], sign="+")}
            for row in differences.to_frame().to_dict("records")
        ],
        "level": differences.level,
        "reason": "" if len(differences) else "fewer than two layers were measured",
    }


def _curve(curve: ScaleCurve) -> dict[str, Any]:
    if not isinstance(curve, ScaleCurve):
        raise TypeError(f"{curve!r} is not a ScaleCurve; ds.scale_curve returns one")
    scale = "rank_far" if len({point.ranks for point in curve.points}) > 1 else "n_points"
    rows = [
        row | {"text": with_error(row["dimension"], row["std_error"])}
        for row in curve.to_frame().to_dict("records")
    ]
    return {"scale": scale, "rows": rows, "verdict": curve.verdict}


def _spectrum(spectrum: Spectrum) -> dict[str, Any]:
    if not isinstance(spectrum, Spectrum):
        raise TypeError(f"{spectrum!r} is not a Spectrum; ds.spectrum returns one")
    values = spectrum.eigenvalues
    total = float(values.sum())
    n_positive = int(np.count_nonzero(values > 0))
    drawn = np.unique(np.geomspace(1, max(1, n_positive), _EIGENVALUES).round().astype(int))
    return {
        "n_points": spectrum.n_points,
        "n_features": spectrum.n_features,
        "normalized": spectrum.normalized,
        "n_eigenvalues": len(values),
        "participation_ratio": spectrum.participation_ratio if total else math.nan,
        "effective_rank": spectrum.effective_rank if total else math.nan,
        "rows": [
            {
                "number": int(number),
                "eigenvalue": float(values[number - 1]),
                "share": float(values[number - 1]) / total,
                "cumulative_share": float(values[:number].sum()) / total,
            }
            for number in drawn
            if total
        ],
    }
