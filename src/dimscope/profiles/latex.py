"""A profile as a LaTeX table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dimscope.profiles.companions import digits

if TYPE_CHECKING:
    from dimscope.estimators.estimates import Estimate
    from dimscope.profiles.profile import Profile

__all__ = ["escaped", "latex_table"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def escaped(text: str) -> str:
    r"""Write text so that LaTeX prints it as it is.

    Examples
    --------
    >>> print(escaped("conv_1>relu #2"))
    conv\_1\textgreater{}relu \#2
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex_table(profile: Profile, estimator: str | None = None) -> str:
    """Write a profile as a ``tabular`` with the rules of booktabs; see :meth:`Profile.to_latex`."""
    estimates = profile.of(profile.estimators[0] if estimator is None else estimator)
    beside = {name: profile.beside(name) for name in profile.companions}
    headings = ["Layer", "Depth", "Features", "Dimension", *map(_heading, beside), "$n$"]
    rows = [
        [
            escaped(layer.name),
            str(layer.depth),
            str(layer.n_features),
            _dimension(estimates[layer.name]),
            *(digits(values[layer.name]).replace("-", "--") for values in beside.values()),
            str(estimates[layer.name].n_points),
        ]
        for layer in profile.layers
    ]
    lines = [" & ".join(cells) + r" \\" for cells in (headings, *rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _heading(companion: str) -> str:
    return companion.replace("_", " ").capitalize()


def _dimension(estimate: Estimate) -> str:
    if math.isnan(estimate.dimension):
        return "--"
    return f"${estimate}$".replace("≥", r"\geq").replace("±", r"\pm")
