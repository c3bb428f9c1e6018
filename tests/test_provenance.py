import json
import platform

import numpy as np

from dimscope import Provenance, TwoNN
from dimscope.manifolds import cube
from dimscope.provenance import versions


def test_versions_lists_installed_distributions():
    installed = versions("pytest", "a-distribution-that-is-not-installed")
    assert installed["python"] == platform.python_version()
    assert installed["numpy"] == np.__version__
    assert "pytest" in installed
    assert "a-distribution-that-is-not-installed" not in installed


def test_provenance_survives_json():
    search = Provenance("nearest_neighbors", {"k": 2, "shape": [3, 4]}, {"numpy": "2"})
    value = Provenance("estimate", {"estimator": "TwoNN()"}, {}, (search, Provenance("capture")))
    assert Provenance.from_dict(json.loads(json.dumps(value.to_dict()))) == value


def test_estimate_records_the_provenance_of_its_search():
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
