"""Tests of the shape of a profile: rises then falls, flat, grows at the end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dimscope.errors import BadPoints
from dimscope.profiles.joint import joint_law, tail
from dimscope.values import by_value

if TYPE_CHECKING:
    from dimscope.activations.activations import Layer
    from dimscope.estimators.estimates import Estimate
    from dimscope.profiles.joint import JointLaw

__all__ = ["ShapeTest", "Trend", "tests_of", "trend_of"]


_LEVEL = 0.05


@by_value
@dataclass(frozen=True, eq=False)
class ShapeTest:
    """A test of one statement about the shape of a profile.

    Parameters
    ----------
    claim : str
        What a small p-value is evidence for.
    statistic : float
        The decisive difference of logarithms, divided by its standard error.
    p_value : float
        1 if the layers cannot show it, for example if there is none between first and last.
    note : str
        The layers that decide, in words.

    Examples
    --------
    >>> test = ShapeTest("the dimension rises, then falls", 4.2, 3e-5, "b is above a and c")
    >>> test.holds
    True
    >>> print(test)
    the dimension rises, then falls (p = 3e-05): b is above a and c
    """

    claim: str
    statistic: float
    p_value: float
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the claim is established at the 5 % level."""
        return self.p_value <= _LEVEL

    def __str__(self) -> str:
        text = self.claim if self.holds else f"not established: {self.claim}"
        return f"{text} (p = {self.p_value:.2g})" + (f": {self.note}" if self.note else "")


@by_value
@dataclass(frozen=True, eq=False)
class Trend:
    """Tests of the shape of a profile.

    Parameters
    ----------
    rises_then_falls : ShapeTest
        Some layer is above the first and above the last.
    flat : ShapeTest
        All dimensions are equal within the tolerance (a test of equivalence).
    differs : ShapeTest
        Some dimensions differ (a test of equality). A large p-value does not show that the profile
        is flat; a small one of ``flat`` does.
    grows_at_end : ShapeTest
        The last layer is above an earlier one in the end of the network.
    tolerance, end : float
        See :meth:`dimscope.Profile.trend`.
    left_out : tuple of str
        The layers that could not be measured.
    """

    rises_then_falls: ShapeTest
    flat: ShapeTest
    differs: ShapeTest
    grows_at_end: ShapeTest
    tolerance: float
    end: float
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        tests = (self.rises_then_falls, self.flat, self.differs, self.grows_at_end)
        lines = [str(test) for test in tests]
        if self.left_out:
            lines.append(f"not measured, and left out: {', '.join(self.left_out)}")
        return "\n".join(lines)


def trend_of(
    layers: Sequence[Layer],
    estimates: Mapping[str, Estimate],
    tolerance: float = 0.1,
    end: float = 0.5,
) -> Trend:
    """Test the shape of a profile; see :meth:`dimscope.Profile.trend`."""
    if not (tolerance > 0 and math.isfinite(tolerance)):
        raise ValueError(f"tolerance is a positive fraction of the dimension, not {tolerance}")
    if not 0 < end <= 1:
        raise ValueError(f"end is a part of the relative depth, above 0 and up to 1, not {end}")
    law = joint_law({layer.name: estimates[layer.name] for layer in layers})
    if len(law.layers) < 2:
        raise BadPoints(
            f"a trend needs at least 2 layers with a dimension; only {law.layers[0]!r} has one"
        )
    depths = _depths(layers)
    return Trend(
        *tests_of(law, [depths[name] for name in law.layers], tolerance, end),
        tolerance,
        end,
        tuple(layer.name for layer in layers if layer.name not in law.layers),
    )


def tests_of(
    law: JointLaw, depths: Sequence[float], tolerance: float, end: float
) -> tuple[ShapeTest, ShapeTest, ShapeTest, ShapeTest]:
    """Test whether the dimensions rise then fall, are flat, differ, and grow at the end."""
    return (
        _rises_then_falls(law),
        _flat(law, tolerance),
        _differs(law),
        _grows_at_end(law, depths, end),
    )


def _depths(layers: Sequence[Layer]) -> dict[str, float]:
    """Return the relative depth of each layer: its place in the order if depths are unknown."""
    depths = {layer.name: layer.relative_depth for layer in layers}
    if len(set(depths.values())) == 1:
        return {name: place / max(1, len(depths) - 1) for place, name in enumerate(depths)}
    return depths


def _rises_then_falls(law: JointLaw) -> ShapeTest:
    """Test that the highest layer is above the first, and that it is above the last."""
    claim, names = "the dimension rises, then falls", law.layers
    last = len(names) - 1
    between = np.arange(1, last)
    if not len(between):
        return ShapeTest(claim, 0.0, 1.0, "there is no layer between the first and the last")
    ends = [(between, np.full(last - 1, 0)), (between, np.full(last - 1, last))]
    against = np.array([law.studentised(*end) for end in ends])
    top = int(np.argmax(law.dimensions[between]))
    verb = "is" if against[:, top].min() > 0 else "is not"
    return ShapeTest(
        claim,
        float(against.max(axis=1).min()),
        max(law.p_values(ends)),
        f"{names[1 + top]}, the highest of those between, {verb} above both {names[0]} and "
        f"{names[last]}",
    )


def _flat(law: JointLaw, tolerance: float) -> ShapeTest:
    """Test that each of all pairs differs by less than the tolerance."""
    low, high = np.array(list(itertools.permutations(range(len(law.layers)), 2))).T
    change = law.logs[high] - law.logs[low]
    error = law.log_errors_of_differences(high, low)
    statistics = (math.log1p(tolerance) - change) / np.maximum(error, 1e-12)
    worst = int(np.argmin(statistics))
    ratio = math.exp(change.max()) - 1
    return ShapeTest(
        f"all dimensions are equal to within {100 * tolerance:.3g} %",
        float(statistics[worst]),
        tail(float(statistics[worst]), law.degrees_of_freedom),
        f"{law.layers[int(np.argmax(law.logs))]} is {100 * ratio:.3g} % above "
        f"{law.layers[int(np.argmin(law.logs))]}",
    )


def _differs(law: JointLaw) -> ShapeTest:
    """Test that any two layers differ."""
    below, above = np.triu_indices(len(law.layers), 1)
    statistics = np.abs(law.studentised(above, below))
    widest = int(np.argmax(statistics))
    first, other = law.layers[below[widest]], law.layers[above[widest]]
    return ShapeTest(
        "the dimensions of the layers differ",
        float(statistics[widest]),
        law.p_values([(above, below)], two_sided=True)[0],
        f"{first} and {other} differ most in units of their error" if statistics[widest] else
        "all are equal to rounding",
    )  # fmt: skip


def _grows_at_end(law: JointLaw, depths: Sequence[float], end: float) -> ShapeTest:
    """Test that the last layer is above an earlier one in the last part of the depth."""
    claim, last = "the dimension grows at the end", len(law.layers) - 1
    start = 1 - end
    earlier = np.array(
        [place for place in range(last) if depths[place] >= start - 1e-9], dtype=np.intp
    )
    if not len(earlier):
        return ShapeTest(
            claim, 0.0, 1.0, f"no layer at relative depth {start:.2g} or more precedes the last"
        )
    this = np.full(len(earlier), last)
    lowest = law.layers[earlier[int(np.argmin(law.dimensions[earlier]))]]
    return ShapeTest(
        claim,
        float(law.studentised(this, earlier).max()),
        law.p_values([(this, earlier)])[0],
        f"{law.layers[last]} against the layers from relative depth {start:.2g}, of which {lowest} "
        "is the lowest",
    )
