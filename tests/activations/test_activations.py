"""Activations: layers with rows that are aligned, and labels that belong to them."""

import numpy as np
import pytest

import dimscope as ds
from dimscope.manifolds import torus


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        (np.repeat([-1, 0, 1], 100), ("a", "b")),
        (np.repeat([7, 8, 9], 100), ("a", "b")),
        (np.repeat(["x", "y", "z"], 100), ("a", "b", "c")),
        (np.repeat([0.0, np.nan, 2.0], 100), None),
        (np.repeat([0, None, 2], 100), None),
        (np.zeros((300, 2), int), None),
    ],
)
def test_activations_refuse_labels_that_are_no_classes(labels, class_names):
    with pytest.raises(ds.BadPoints, match="labels"):
        ds.Activations({"a": torus(300, 3)}, labels=labels, class_names=class_names)
