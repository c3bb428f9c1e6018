"""A profile as a LaTeX table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dimscope.profiles.companions import digits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dimscope.activations.activations import Layer
    from dimscope.estimators.estimates import Estimate

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


def latex_table(
    layers: Iterable[Layer],
    estimates: Mapping[str, Estimate],
    beside: Mapping[str, Mapping[str, float]],
) -> str:
    """Write a ``tabular`` with the rules of booktabs, one row for each layer.

    Parameters
    ----------
    layers : iterable of Layer
    estimates : Mapping of str to Estimate
        Layer name -> Estimate.
    beside : Mapping of str to Mapping of str to float
        Companion -> layer name -> value.
    """
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
        for layer in layers
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
