"""A user's program, checked by mypy: public calls return what their annotations promise.

``make lint`` checks it; nothing here runs.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import torch

import dimscope as ds

points = np.random.default_rng(0).random((100, 5))
network = torch.nn.Linear(5, 3)
inputs = torch.rand(100, 5)

estimate = ds.estimate(points, ds.TwoNN())
assert_type(estimate, ds.Estimate)
assert_type(ds.TwoNN()(points), ds.Estimate)
assert_type(ds.estimate(points, [ds.TwoNN(), ds.Gride(2, 4)]), dict[str, ds.Estimate])
assert_type(estimate.dimension, float)
assert_type(estimate.interval, tuple[float, float])
assert_type(float(estimate), float)

neighbors = ds.nearest_neighbors(points, 3)
assert_type(neighbors, ds.Neighbors)
assert_type(ds.TwoNN()(neighbors), ds.Estimate)
assert_type(ds.scale_curve(points, ds.TwoNN()), ds.ScaleCurve)
assert_type(ds.spectrum(points), ds.Spectrum)
assert_type(ds.difference(estimate, estimate), ds.Difference)

activations = ds.capture(network, inputs)
assert_type(activations, ds.Activations)
profile = ds.profile(network, inputs, [ds.TwoNN()])
assert_type(profile, ds.Profile)
assert_type(ds.profile(activations), ds.Profile)
assert_type(profile["output"], ds.Estimate)
assert_type(profile.peak(), ds.Peak)
assert_type(profile.differences(), ds.Differences)
assert_type(ds.Profile.load("p.json"), ds.Profile)
assert_type(ds.diagnose(profile), ds.Diagnosis)
assert_type(ds.load_model("torchvision/resnet18"), torch.nn.Module)
assert_type(ds.cite(profile, style="text"), str)


class Mine(ds.NeighborEstimator):
    """An estimator of one's own."""

    def evaluate(self, neighbors: ds.Neighbors) -> ds.Fit:
        """Return the number of neighbours."""
        return ds.Fit(float(neighbors.k), n_used=neighbors.n_points)


assert_type(Mine()(points), ds.Estimate)
anything: Any = profile.to_frame()
