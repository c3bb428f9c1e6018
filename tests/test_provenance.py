import json
import platform

import numpy as np

from dimscope import Provenance, TwoNN
from dimscope.manifolds import cube
from dimscope.provenance import versions


def test_versions():
    found = versions("pytest", "a-distribution-that-is-not-installed")
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert "pytest" in found
    assert "a-distribution-that-is-not-installed" not in found


def test_dict_gives_the_provenance_back():
    search = Provenance("nearest_neighbors", {"k": 2, "shape": [3, 4]}, {"numpy": "2"})
    value = Provenance("estimate", {"estimator": "TwoNN()"}, {}, (search, Provenance("capture")))
    assert Provenance.from_dict(json.loads(json.dumps(value.to_dict()))) == value


def test_an_estimate_leads_back_to_its_points():
    estimate = TwoNN()(cube(50, 2))
    (search,) = estimate.provenance.inputs
    assert estimate.provenance.step == "estimate"
    assert estimate.provenance.parameters["guarantee"] == "exact to 1e-6"
    assert search.step == "nearest_neighbors"
    assert search.parameters["shape"] == [50, 2]
    assert search.versions["numpy"] == np.__version__
    assert Provenance.from_dict(json.loads(json.dumps(estimate.provenance.to_dict()))) == (
        estimate.provenance
    )
