"""Agreement with DADApy, which runs in an environment of its own."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dimscope import I3D, Gride, TwoNN, manifolds, nearest_neighbors

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
CLOUDS = {
    "sphere": manifolds.sphere(500, 3),
    "gaussian": manifolds.gaussian(501, 10),
    "swiss_roll": manifolds.swiss_roll(400, 2),
    "embedded": manifolds.embed(manifolds.paraboloid(333, 4), 100),
}


@pytest.fixture(scope="module", params=CLOUDS)
def both(request, tmp_path_factory):
    if not PYTHON.exists():
        pytest.skip("DADApy is not installed; run make peers")
    path = tmp_path_factory.mktemp("dadapy") / "points.npy"
    np.save(path, CLOUDS[request.param])
    script = Path(__file__).with_name("dadapy_dimensions.py")
    done = subprocess.run(
        [PYTHON, script, path], check=True, capture_output=True, text=True, timeout=600
    )
    return nearest_neighbors(CLOUDS[request.param], 64), json.loads(done.stdout.splitlines()[-1])


def test_regression(both):
    neighbors, peer = both
    own = TwoNN(fit="regression")(neighbors)
    assert float(own) == pytest.approx(peer["regression"], rel=1e-6)


def test_gride_at_doubling_ranks(both):
    neighbors, peer = both
    own = [float(Gride(2**i, 2 ** (i + 1))(neighbors)) for i in range(6)]
    # it stops its search for the root at 1e-7
    assert own == pytest.approx(peer["gride"], rel=1e-6)


def test_i3d(both):
    _, peer = both
    counts = np.random.default_rng(0).integers(0, 12, (300, 4))
    assert float(I3D(far=6, near=3)(counts)) == pytest.approx(peer["i3d"], rel=1e-6)
