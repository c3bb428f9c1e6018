"""Average profiles: one profile for several networks, such as one architecture in many seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dimscope.activations.activations import Layer
from dimscope.errors import BadPoints
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate, fingerprint
from dimscope.estimators.uncertainty import Influence
from dimscope.profiles.comparison import warn_of_changes
from dimscope.profiles.layerwise import influence_of_mean
from dimscope.profiles.profile import Profile
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["average_profiles"]


def average_profiles(
    profiles: Iterable[Profile],
    *,
    depths: Sequence[float] | None = None,
    name: str | None = None,
) -> Profile:
    """Average the profiles of several networks, layer by layer, with the error between networks.

    Parameters
    ----------
    profiles : iterable of Profile
        Profiles of at least two networks with the same layers, measured with the same estimators.
    depths : sequence of float, optional
        Relative depths, between 0 and 1, at which to average networks whose layers differ: the
        dimension of each network is interpolated linearly between its layers. Without depths,
        networks with different layers are refused.
    name : str, optional
        Name of the average; ``"mean of 3 networks"`` by default.

    Returns
    -------
    Profile
        A mean over networks in every layer. The standard error is std / sqrt(n) and the interval is
        from Student's t with n - 1 degrees of freedom. The profile can be drawn and saved, and
        tells its peak, differences and trend, with the networks as the sample.

    Warns
    -----
    ChangedNumbers
        If some of the profiles are from an earlier version, whose numbers differ.

    Raises
    ------
    BadPoints
        If there are fewer than two profiles, two of them are the same, or they differ in their
        layers, in their estimators, or in whether they are means over classes.

    Notes
    -----
    The target is the mean over networks like these: for networks that differ in their seeds only,
    all seeds of this architecture and training. If all networks saw the same stimuli, the error
    does not include which stimuli these were.

    Examples
    --------
    >>> seeds = [Profile((Layer("fc"),), {"twonn": {"fc": Estimate(d, 0.1)}}, f"seed {d}")
    ...          for d in (9.0, 10.0, 11.0)]
    >>> mean = average_profiles(seeds)
    >>> mean, mean["fc"]
    (Profile('mean of 3 networks', 1 layers, twonn), Estimate(10.0 ± 0.6, n=0))
    >>> [round(bound, 1) for bound in mean["fc"].interval]  # 2 degrees of freedom
    [7.8, 12.8]
    """
    profiles = list(profiles)
    _check(profiles)
    warn_of_changes(profiles)
    if depths is None:
        _check_layers(profiles)
        layers = profiles[0].layers
    else:
        layers = tuple(_at(depth) for depth in depths)
        if len({layer.name for layer in layers}) < len(layers) or not layers:
            raise ValueError(f"depths are different numbers between 0 and 1, not {list(depths)}")
        profiles = [_interpolated(profile, layers) for profile in profiles]
    provenance = Provenance(
        "average_profiles",
        {
            "profiles": [profile.name for profile in profiles],
            "depths": None if depths is None else [float(depth) for depth in depths],
            "target": "networks like these",
            **_common(profiles),
        },
        versions(),
        tuple(profile.provenance for profile in profiles),
    )
    means = {
        key: {
            layer.name: _mean([profile.of(key)[layer.name] for profile in profiles], profiles)
            for layer in layers
        }
        for key in profiles[0].estimators
    }
    if name is None:
        name = f"mean of {len(profiles)} networks"
    return Profile(layers, means, name, provenance=provenance)


def _check(profiles: Sequence[Profile]) -> None:
    if len(profiles) < 2:
        raise BadPoints(f"an average needs at least 2 profiles, but there are {len(profiles)}")
    first = profiles[0]
    for profile in profiles[1:]:
        if _estimators(profile) != _estimators(first):
            raise BadPoints(
                f"the profiles of {first.name!r} and {profile.name!r} were measured with different "
                f"estimators, {_listed(first)} and {_listed(profile)}; measure both with the same"
            )
        if bool(profile.classes) != bool(first.classes):
            which = profile if profile.classes else first
            raise BadPoints(
                f"the profile of {which.name!r} is a mean over classes, and others are not; "
                "measure all by class, or none"
            )
    for (i, a), (j, b) in itertools.combinations(enumerate(profiles), 2):
        if _numbers(a) == _numbers(b):
            raise BadPoints(
                f"profiles {i} and {j} ({a.name!r}, {b.name!r}) are the same; give each network "
                "once"
            )


def _estimators(profile: Profile) -> dict[str, str]:
    """Return estimator name -> how it was made."""
    made: Mapping[str, str] = profile.provenance.parameters.get("estimators", {})
    return {key: made.get(key, "") for key in profile.estimators}


def _listed(profile: Profile) -> str:
    return ", ".join(made or key for key, made in _estimators(profile).items())


def _numbers(profile: Profile) -> list[tuple[str, float | None]]:
    return [
        (name, None if math.isnan(estimate.dimension) else estimate.dimension)
        for key in profile.estimators
        for name, estimate in profile.of(key).items()
    ]


def _check_layers(profiles: Sequence[Profile]) -> None:
    first = list(profiles[0])
    for profile in profiles[1:]:
        if list(profile) != first:
            only = [name for name in [*first, *profile] if (name in first) != (name in profile)]
            what = f"only one has {', '.join(only[:3])}" if only else "their order differs"
            raise BadPoints(
                f"the profiles of {profiles[0].name!r} and {profile.name!r} have different layers "
                f"({what}); capture the same layers, or give relative depths to interpolate at, "
                "such as depths=[0, 0.25, 0.5, 0.75, 1]"
            )


def _common(profiles: Sequence[Profile]) -> dict[str, object]:
    """Return the parameters that say how all profiles were measured."""
    parameters = [profile.provenance.parameters for profile in profiles]
    return {
        key: parameters[0][key]
        for key in ("estimators", "by_class", "numbers")
        if all(key in other and other[key] == parameters[0][key] for other in parameters)
    }


def _mean(estimates: Sequence[Estimate], profiles: Sequence[Profile]) -> Estimate:
    measured = [place for place, e in enumerate(estimates) if not math.isnan(e.dimension)]
    dimensions = np.array([estimates[place].dimension for place in measured])
    n, n_all = len(measured), len(estimates)
    names = [
        profile.name or str(place)
        for place, profile in enumerate(profiles)
        if place not in measured
    ]
    reason = f"{n_all - n} of {n_all} networks have no dimension here: {', '.join(names)}"
    mean = float(dimensions.mean()) if n else math.nan
    std_error = float(dimensions.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    identities = np.arange(n_all, dtype=np.uint64)
    influence = None
    if n > 1:
        scores = influence_of_mean(dimensions, np.array(measured))
        influence = Influence(scores.scores, scores.pairs, scores.rows, identities, stated=True)
    return Estimate(
        mean,
        std_error if std_error > 0 else math.nan,
        n_points=sum(estimate.n_points for estimate in estimates),
        n_used=sum(estimates[place].n_used for place in measured),
        n_duplicates=sum(estimates[place].n_duplicates for place in measured),
        is_lower_bound=mean > LOWER_BOUND_ABOVE,
        reason=reason if n < n_all else "",
        degrees_of_freedom=max(1, n - 1),
        rows=fingerprint(identities),
        influence=influence,
        provenance=Provenance(
            "mean over networks",
            {
                "estimator": estimates[0].provenance.parameters.get("estimator", ""),
                "networks": n,
                "target": "networks like these",
            },
            inputs=tuple(estimate.provenance for estimate in estimates),
        ),
    )


# -- interpolation ------------------------------------------------------------------------


def _at(depth: float) -> Layer:
    if not 0 <= depth <= 1:
        raise ValueError(f"a relative depth is between 0 and 1, not {depth}")
    return Layer(f"{depth:g}", relative_depth=float(depth))


def _interpolated(profile: Profile, layers: Sequence[Layer]) -> Profile:
    """Interpolate the dimensions at the relative depths of ``layers``, between measured layers."""
    at = np.array([layer.relative_depth for layer in layers])
    estimates = {}
    for key in profile.estimators:
        measured = [
            (layer.relative_depth, estimate)
            for layer in profile.layers
            for estimate in [profile.of(key)[layer.name]]
            if not math.isnan(estimate.dimension)
        ]
        depths = np.array([depth for depth, _ in measured])
        if len(set(depths.tolist())) < 2:
            raise BadPoints(
                f"the profile of {profile.name!r} has layers at {len(set(depths.tolist()))} "
                "relative depths; interpolation needs at least 2"
            )
        order = np.argsort(depths, kind="stable")
        dimensions = np.array([estimate.dimension for _, estimate in measured])
        values = _interpolate(at, depths[order], dimensions[order])
        n_points = max(estimate.n_points for _, estimate in measured)
        estimates[key] = {
            layer.name: Estimate(
                float(value),
                n_points=n_points,
                reason="" if math.isfinite(value) else "no measured layer so near the end",
                provenance=profile.provenance,
            )
            for layer, value in zip(layers, values, strict=True)
        }
    return Profile(tuple(layers), estimates, profile.name, provenance=profile.provenance)


def _interpolate(
    at: NDArray[np.float64], depths: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate linearly; layers of one depth count as their mean; NaN outside the depths."""
    unique, inverse = np.unique(depths, return_inverse=True)
    means = np.bincount(inverse, values) / np.bincount(inverse)
    result: NDArray[np.float64] = np.interp(at, unique, means, math.nan, math.nan)
    return result
