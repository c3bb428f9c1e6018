"""Differences between the layers of a profile, with errors for all of them at once.

Several differences are tested together, so each comes with a p-value adjusted for their number
(Holm) and with an interval that holds for all of them at once (max-t).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from dimscope.digits import decimals, with_error
from dimscope.errors import check_word
from dimscope.html import between, table
from dimscope.profiles.joint import joint_law, tail
from dimscope.values import by_value

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from dimscope.estimators.estimates import Estimate

__all__ = ["Differences", "LayerDifference", "Pairing", "differences_of"]


Pairing = Literal["adjacent", "all"]


@by_value
@dataclass(frozen=True, eq=False)
class LayerDifference:
    """The difference between two layers of a profile.

    Parameters
    ----------
    layer, other : str
        The earlier and the later layer.
    difference : float
        Dimension of the later layer minus that of the earlier: positive where the dimension grows.
    std_error : float
        Standard error of the difference, from the joint influences of the points.
    p_value : float
        Two-sided p-value of this difference alone, normal or Student's t.
    p_adjusted : float
        p-value adjusted for all differences of the value (Holm 1979).
    interval : tuple of float
        Interval (lower, upper); the intervals of all differences hold at once.
    equal_to_rounding : bool
        Whether the dimensions differ by less than a relative 1e-6. The p-value is then 1.
    """

    layer: str
    other: str
    difference: float
    std_error: float
    p_value: float
    p_adjusted: float
    interval: tuple[float, float]
    equal_to_rounding: bool = False

    def __str__(self) -> str:
        if self.equal_to_rounding:
            return f"{self.layer} -> {self.other}: equal to rounding"
        change = with_error(self.difference, self.std_error, sign="+")
        places = decimals(self.std_error)
        lower, upper = (f"{bound:.{places}f}" for bound in self.interval)
        return (
            f"{self.layer} -> {self.other}: {change} ({lower} to {upper}; "
            f"p = {self.p_value:.2g}, adjusted {self.p_adjusted:.2g})"
        )


@by_value
@dataclass(frozen=True, eq=False)
class Differences(Sequence[LayerDifference]):
    """The differences between layers of a profile, in order.

    Parameters
    ----------
    differences : tuple of LayerDifference
    level : float
        Probability that all intervals hold at once.
    left_out : tuple of str
        The layers that could not be measured.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube
    >>> x = cube(1000, 5)
    >>> layers = {"a": x[:, :2], "b": x[:, :2] * 3.0, "c": x}
    >>> first, second = ds.profile(ds.Activations(layers)).differences()
    >>> print(first)
    a -> b: equal to rounding
    >>> round(second.difference), second.p_adjusted < 1e-6
    (3, True)
    """

    differences: tuple[LayerDifference, ...]
    level: float = 0.95
    left_out: tuple[str, ...] = ()

    @overload
    def __getitem__(self, place: int) -> LayerDifference: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[LayerDifference, ...]: ...
    def __getitem__(self, place: int | slice) -> LayerDifference | tuple[LayerDifference, ...]:
        return self.differences[place]

    def __len__(self) -> int:
        return len(self.differences)

    def __iter__(self) -> Iterator[LayerDifference]:
        return iter(self.differences)

    def __str__(self) -> str:
        lines = [str(difference) for difference in self.differences]
        if self.left_out:
            lines.append(f"not measured, and left out: {', '.join(self.left_out)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        level = f"{100 * self.level:.3g} % intervals for all differences at once"
        if self.left_out:
            level += f"; not measured, and left out: {', '.join(self.left_out)}"
        return table(
            ("from", "to", "difference", "interval", "p", "p, adjusted"),
            (
                (
                    item.layer,
                    item.other,
                    "equal to rounding"
                    if item.equal_to_rounding
                    else with_error(item.difference, item.std_error),
                    between(item.interval),
                    f"{item.p_value:.2g}",
                    f"{item.p_adjusted:.2g}",
                )
                for item in self
            ),
            level,
        )

    def to_frame(self) -> pd.DataFrame:
        """Convert to a tidy table with one row for each difference.

        Returns
        -------
        pandas.DataFrame
            Columns ``layer``, ``other``, ``difference``, ``std_error``, ``p_value``,
            ``p_adjusted``, ``lower``, ``upper`` and ``equal_to_rounding``. The difference is
            ``other`` minus ``layer``, so it is positive where the dimension grows.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "layer": item.layer,
                    "other": item.other,
                    "difference": item.difference,
                    "std_error": item.std_error,
                    "p_value": item.p_value,
                    "p_adjusted": item.p_adjusted,
                    "lower": item.interval[0],
                    "upper": item.interval[1],
                    "equal_to_rounding": item.equal_to_rounding,
                }
                for item in self.differences
            ],
            columns=_COLUMNS,
        )


_COLUMNS = [
    "layer", "other", "difference", "std_error", "p_value", "p_adjusted", "lower", "upper",
    "equal_to_rounding",
]  # fmt: skip


def differences_of(
    estimates: Mapping[str, Estimate], pairs: Pairing = "adjacent", p: float = 0.95
) -> Differences:
    """Compute differences between layers; see :meth:`dimscope.Profile.differences`."""
    check_word("pairs", pairs, Pairing)
    if not 0 < p < 1:
        raise ValueError(f"the level of differences must be between 0 and 1, not {p}")
    law = joint_law(estimates)
    n = len(law.layers)
    left_out = tuple(name for name in estimates if name not in law.layers)
    if pairs == "adjacent":
        below, above = np.arange(n - 1), np.arange(1, n)
    else:
        below, above = np.triu_indices(n, 1)
    if not len(above):
        return Differences((), p, left_out)
    change = law.dimensions[above] - law.dimensions[below]
    errors = law.errors_of_differences(above, below)
    equal = ~law.differ(above, below)
    p_values = np.array(
        [
            1.0 if same else min(1.0, 2 * tail(abs(t), law.degrees_of_freedom))
            for same, t in zip(equal, change / np.maximum(errors, _TINY), strict=True)
        ]
    )
    half = law.critical(p, above, below) * errors
    rows = zip(
        above, below, change.tolist(), errors.tolist(), p_values.tolist(),
        holm(p_values).tolist(), half.tolist(), equal.tolist(), strict=True,
    )  # fmt: skip
    return Differences(
        tuple(
            LayerDifference(
                law.layers[j], law.layers[i], d, error, alone, adjusted, (d - h, d + h), same
            )
            for i, j, d, error, alone, adjusted, h, same in rows
        ),
        p,
        left_out,
    )


_TINY = 1e-150


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values so that the probability of any false rejection is controlled (Holm 1979).

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.02])).tolist()
    [0.03, 0.04, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted
