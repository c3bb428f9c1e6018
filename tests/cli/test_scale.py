"""``dimscope scale``: the numbers of the public calls, a verdict, a figure."""

import json

import numpy as np
import pytest
import torch

import dimscope as ds
from dimscope.cli.tables import scale_table
from dimscope.manifolds import torus


@pytest.fixture
def points(tmp_path):
    np.save(tmp_path / "points.npy", torus(500, 2))
    return "points.npy"


def test_scale_json_equals_the_public_calls(run, points):
    done = run("scale", points, "--blocks", 5, "--ranks", 8, "--seed", 3, "--json")
    assert done.code == 0, done.err
    found, array = json.loads(done.out), np.load(points)
    blocks = ds.scale_curve(array, ds.TwoNN(seed=3), blocks=range(1, 6), seed=3)
    assert [one["dimension"] for one in found["points"]["scales"]] == pytest.approx(
        [one.dimension for one in blocks.points]
    )
    assert [one["rank_far"] for one in found["ranks"]["scales"]] == [2, 4, 8]
    ranks = ds.rank_curve(array, 8)
    assert [one["std_error"] for one in found["ranks"]["scales"]] == [
        one.std_error for one in ranks.points
    ]


def test_scale_prints_tables_and_verdict_and_draws_a_figure(run, points, tmp_path):
    done = run("scale", points, "--plot", "scale.png", "--estimator", "Gride(1, 3)")
    assert done.code == 0, done.err
    assert done.out.count("The dimension") == 2
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_scale_table_has_the_digits_of_estimates():
    points = torus(500, 2)
    curve = ds.scale_curve(points, blocks=[1])
    column = next(c for c in scale_table(curve, "").columns if c.header == "dimension")
    assert list(column.cells) == [str(ds.estimate(points))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "no/scale.png"], "no file or folder"),
        (["--plot", "scale.gif"], "cannot write"),
        (["--estimator", "pca"], "neighbour-based estimator"),
        (["--estimator", "nothing"], "gride"),
        (["--estimator", "Gride(n1=9, n2=4)"], "n1 < n2"),
        (["--estimator", "Gride(n3=9)"], "n3"),
        (["--estimator", "Gride(open('x'))"], "is not an estimator such as"),
        (["--blocks", 0], "blocks"),
    ],
)
def test_scale_refuses_wrong_calls(run, points, arguments, message):
    done = run("scale", points, *arguments)
    assert done.code in (1, 2)
    assert message in " ".join(done.err.split())
    assert not done.out


def test_scale_draws_a_stored_layer(folder, invoke):
    net = torch.nn.Sequential(torch.nn.Linear(6, 9))
    ds.capture(net, torch.from_numpy(np.load("x.npy")), out="s.zarr")
    call = ("scale", "s.zarr::input", "--engine", "sketched", "--plot", "scale.png")
    result = invoke(*call)
    assert result.exit_code == 0, result.output
    assert (folder / "scale.png").stat().st_size > 10_000
