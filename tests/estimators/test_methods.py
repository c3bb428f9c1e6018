"""Sentences on how a number was measured."""

import math

import numpy as np
import pytest

import dimscope as ds
from dimscope.manifolds import cube


@pytest.mark.parametrize(
    ("estimator", "key"),
    [
        (ds.TwoNN(), "facco2017"),
        (ds.MLE(5), "levina2004"),
        (ds.PCA(), "ansuini2019"),
        (ds.ParticipationRatio(), "gao2017"),
        (ds.EffectiveRank(), "roy2007"),
        (ds.Resampled(ds.Gride(), n=2), "denti2022"),
    ],
)
def test_methods_name_the_estimator_with_its_parameters_and_key(estimator, key):
    text = estimator(cube(200, 2)).methods()
    assert f"The intrinsic dimension of 200 points was estimated by {estimator!r} [{key}]" in text
    assert text.endswith(
        f"(dimscope {ds.__version__} [dimscope], which implements the method of [ansuini2019])."
    )
    assert ("no standard error" in text) == isinstance(estimator, ds.SpectralEstimator)
    assert ("exact to 1e-6" in text) == isinstance(estimator, ds.NeighborEstimator)


def test_methods_state_the_radii_that_i3d_chose():
    counts = np.random.default_rng(0).integers(0, 30, (300, 2))
    estimate = ds.I3D()(counts)
    near, far = (estimate.provenance.parameters[name] for name in ("near", "far"))
    radii = f"of other points within the radii {near} and {far} of each point"
    assert radii in estimate.methods()
    profile = ds.profile({"a": counts, "b": 3 * counts}, estimators=[ds.I3D()])
    wider = profile["b"].provenance.parameters
    radii = f"within the radii {near} to {wider['near']} and {far} to {wider['far']} of"
    assert radii in profile.methods()


def test_methods_count_repeated_rows():
    points = cube(200, 2)
    text = ds.estimate(np.concatenate([points, points[:7]])).methods()
    assert "of 207 points (7 repeated rows collapsed) was" in text


def test_methods_refuse_an_estimate_without_a_number_or_an_origin():
    with pytest.raises(ValueError, match="no dimension: all tied"):
        ds.Estimate(math.nan, reason="all tied").methods()
    with pytest.raises(ValueError, match="does not say which estimator"):
        ds.Estimate(3.0).methods()
