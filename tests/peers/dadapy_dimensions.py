"""Dimensions by DADApy, run by the tests in an environment that has it (it needs NumPy 1).

``python dadapy_dimensions.py points.npy`` prints one JSON object.
"""

import json
import sys

import numpy as np
from dadapy import IdEstimation
from dadapy.id_discrete import IdDiscrete

points = np.load(sys.argv[1])
peer = IdEstimation(coordinates=points, maxk=100)
peer.compute_distances(maxk=100)
gride, _, _ = peer.return_id_scaling_gride(range_max=64)
line, _, _ = peer.compute_id_2NN(algorithm="base", mu_fraction=0.9)
counts = np.random.default_rng(0).integers(0, 12, (300, 4))
lattice = IdDiscrete(counts, condensed=True, maxk=300)
lattice.compute_distances(metric="manhattan", d_max=60)
discrete, error, _ = lattice.compute_id_binomial_lk(6, 3, method="mle")
print(json.dumps({"gride": gride.tolist(), "regression": line, "i3d": float(discrete)}))
