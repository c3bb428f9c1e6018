"""The function ``diagnose``: what a profile says about its network, and about its reliability.

Each rule reads a saved profile alone and returns one
:class:`~dimscope.profiles.diagnosis.findings.Finding`. The thresholds of the rules were fixed on
some networks and scored on others (docs/decisions/diagnosis.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dimscope.profiles.diagnosis.evidence import Evidence, law_of
from dimscope.profiles.diagnosis.findings import Diagnosis
from dimscope.profiles.diagnosis.layers import dead_layers, too_few_dimensions
from dimscope.profiles.diagnosis.reliability import few_points, hubs, lower_bounds, repeated_rows
from dimscope.profiles.diagnosis.shape import hunchback, memorised_labels, untrained
from dimscope.profiles.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from dimscope.activations.activations import Layer
    from dimscope.profiles.diagnosis.findings import Finding

__all__ = ["diagnose"]


def diagnose(
    profile: Profile,
    estimator: str | None = None,
    *,
    n_classes: int | None = None,
    train_accuracy: float | None = None,
    test_accuracy: float | None = None,
    last_hidden: str | None = None,
) -> Diagnosis:
    """Say what a profile shows: of the network, and of how far its numbers can be trusted.

    Parameters
    ----------
    profile : Profile
        Measured here or loaded from a file. If the file holds influences
        (``profile.save(path, influences=True)``), layers are compared with their joint errors;
        otherwise as if their estimates were independent, which tells less.
    estimator : str, optional
        Name of the estimator; the first by default.
    n_classes : int, optional
        Number of classes that the network tells apart; the number of its outputs by default.
    train_accuracy, test_accuracy : float, optional
        Fractions of the stimuli that the network classifies correctly: of those it was trained on,
        with the labels it was trained on, and of others. They help to tell whether labels were
        memorised.
    last_hidden : str, optional
        Name of the last hidden layer; by default the layer with this role, which activations that
        another program has saved do not state.

    Returns
    -------
    Diagnosis
        One finding of each kind, with its verdict, its numbers and what to do.

    Raises
    ------
    ValueError
        If an accuracy is not between 0 and 1.
    KeyError
        If there is no layer or no estimator of this name.
    TypeError
        If ``profile`` is not a profile.

    Examples
    --------
    >>> from dimscope import Activations, profile
    >>> from dimscope.manifolds import cube, embed
    >>> a, b = embed(cube(500, 4), 20), embed(cube(500, 8), 20)
    >>> layers = {"a": a, "b": b, "c": a[:, ::-1], "d": 0 * a}
    >>> diagnosis = diagnose(profile(Activations(layers)))
    >>> diagnosis.of("hunchback").verdict, diagnosis.of("dead layers").layers
    ('found', ('d',))
    """
    if not isinstance(profile, Profile):
        raise TypeError(f"give a profile, as ds.profile returns it, not {type(profile).__name__}")
    for name, share in (("train_accuracy", train_accuracy), ("test_accuracy", test_accuracy)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; give a fraction between 0 and 1")
    estimates = profile.of(profile.estimators[0] if estimator is None else estimator)
    sources = [source.parameters for source in profile.provenance.inputs]
    layers = profile.layers if last_hidden is None else _with_last_hidden(profile, last_hidden)
    law, errors = law_of(layers, estimates)
    evidence = Evidence(
        layers, estimates, law, errors, n_classes, train_accuracy, test_accuracy,
        profile.is_of_saved_activations,
        next((str(source["readout"]) for source in sources if "readout" in source), "flatten"),
    )  # fmt: skip
    return Diagnosis(tuple(rule(evidence) for rule in _RULES), profile.name, errors)


def _with_last_hidden(profile: Profile, name: str) -> tuple[Layer, ...]:
    profile[name]  # which says what layers there are
    return tuple(
        replace(layer, role="last_hidden")
        if layer.name == name
        else replace(layer, role="hidden")
        if layer.role == "last_hidden"
        else layer
        for layer in profile.layers
    )


_RULES: tuple[Callable[[Evidence], Finding], ...] = (
    hunchback, untrained, memorised_labels, dead_layers, too_few_dimensions, lower_bounds,
    hubs, few_points, repeated_rows,
)  # fmt: skip
