"""``dimscope estimate``: the same number as the call, errors in a sentence."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import dimscope as ds
from dimscope.cli.main import app


def test_estimate_prints_the_result_of_the_call(run, points):
    done = run("estimate", points)
    assert done.code == 0
    assert str(ds.estimate(np.load(points))) in done.out
    assert "500 x 3 features" in done.out


def test_estimate_json_is_one_object_and_nothing_else(run, points):
    done = run("estimate", points, "--json", "--fit", "regression", "--discard", "0.2")
    found = json.loads(done.out)
    expected = ds.TwoNN(fit="regression", discard=0.2)(np.load(points))
    assert found["dimension"] == pytest.approx(float(expected), rel=1e-12)
    assert found["interval"] == pytest.approx(list(expected.interval))
    assert (found["n_points"], found["n_duplicates"], found["is_lower_bound"]) == (500, 0, False)
    assert "TwoNN(fit='regression', discard=0.2" in found["estimator"]


def test_estimate_engines_equal_those_of_the_call(run, tmp_path):
    points = np.tanh(np.random.default_rng(0).standard_normal((4000, 3)) @ np.ones((3, 20)))
    points += np.random.default_rng(1).standard_normal(points.shape)
    np.save(tmp_path / "many.npy", points)
    path = tmp_path / "many.npy"
    found = json.loads(run("estimate", path, "--engine", "sampled", "--rtol", 0.04, "--json").out)
    expected = ds.TwoNN()(points, ds.Sampled(0.04))
    assert found["dimension"] == float(expected)
    assert found["n_queries"] == expected.n_queries < 2000
    done = run("estimate", path, "--engine", "sampled", "--rtol", 0.04)
    assert f"{expected.n_queries} of 4000 points" in done.out
    assert run("estimate", path, "--engine", "sketched").code == 0


def test_estimate_collapses_copies(run, points, tmp_path):
    cloud = np.load(points)
    path = tmp_path / "twice.npy"
    np.save(path, np.concatenate([cloud, cloud * (1 + 2**-51)]))
    found = json.loads(run("estimate", path, "--copies", "collapse", "--json").out)
    assert found["dimension"] == pytest.approx(float(ds.estimate(cloud)), rel=1e-9)
    assert found["n_copies"] == 500
    assert "500 rows differ by rounding only" in run("estimate", path, "--copies", "collapse").out
    refused = run("estimate", path, "--copies", "collapse", "--estimator", "pca")
    assert (refused.code, "no neighbours" in refused.err) == (2, True)
    refused = run("estimate", path, "--copies", "drop")
    assert (refused.code, "use one of" in refused.err) == (2, True)


def test_estimate_resamples_equal_those_of_the_call(run, points):
    found = json.loads(run("estimate", points, "--resamples", 4, "--seed", 9, "--json").out)
    expected = ds.Resampled(ds.TwoNN(seed=9), n=4, keep=0.9, seed=9)(np.load(points))
    assert found["resample_std"] == pytest.approx(expected.resample_std)


def test_estimate_takes_an_estimator_from_a_file(run, points, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "import numpy as np\n"
        "import dimscope as ds\n\n"
        "@dataclass(frozen=True)\n"
        "class Mine(ds.NeighborEstimator):\n"
        "    def evaluate(self, neighbors):\n"
        "        return ds.Fit(4.25, np.zeros(len(neighbors.distances)))\n"
    )
    done = run("estimate", points, "--estimator", "mine.py:Mine", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["dimension"] == 4.25


@pytest.mark.parametrize(
    ("text", "estimator"),
    [
        ("gride", ds.Gride()),
        ("Gride(n1=1, n2=3)", ds.Gride(1, 3)),
        ("MLE(k=5)", ds.MLE(k=5)),
        ("PCA(variance=0.5)", ds.PCA(variance=0.5)),
        ("participationratio", ds.ParticipationRatio()),
        ("effectiverank", ds.EffectiveRank()),
    ],
)
def test_estimate_takes_estimators_by_name(run, points, text, estimator):
    found = json.loads(run("estimate", points, "--estimator", text, "--json").out)
    assert found["dimension"] == pytest.approx(float(estimator(np.load(points))))
    assert found["estimator"] == repr(estimator)


def test_estimate_refuses_resamples_without_neighbours(run, points):
    done = run("estimate", points, "--estimator", "pca", "--resamples", 5)
    assert done.code == 2
    assert "does not use neighbours" in " ".join(done.err.split())


def test_estimate_warns_of_ties_on_standard_error_only(run, tmp_path):
    np.save(tmp_path / "grid.npy", np.random.default_rng(0).integers(0, 9, (400, 3)))
    done = run("estimate", "grid.npy", "--json")
    assert done.code == 0
    assert "warning:" in done.err
    assert "%" in done.err
    assert json.loads(done.out)["tie_fraction"] > 0


def text_file(path):
    path.write_text("1 2 3\n4 5 6\n")


def truncated(path):
    np.save(path, np.random.default_rng(0).random((100, 10)))
    path.write_bytes(path.read_bytes()[:3000])


def pickled(path):
    np.array([{"a": 1}], dtype=object).dump(path)


def objects(path):
    np.save(path, np.array([[1, "a"], [2, None]], dtype=object), allow_pickle=True)


def archive(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def saved(array):
    return lambda path: np.save(path, array)


nan = np.random.default_rng(0).random((50, 4))
nan[17, 2] = np.nan
infinite = np.random.default_rng(0).random((50, 4))
infinite[31, 0] = np.inf


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (text_file, "not a NumPy array file"),
        (truncated, "truncated"),
        (pickled, "is a pickle"),
        (objects, "Python objects"),
        (archive, "zip archive"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.mkdir(), "is a folder"),
        (saved(nan), "row 17"),
        (saved(infinite), "row 31"),
        (saved(np.ones((30, 5))), "all 30 points are the same"),
        (saved(np.eye(2)), "2"),
        (saved(np.arange(9.0)), "reshape(-1, 1)"),
        (saved(np.zeros((0, 4))), "0"),
        (saved(np.array([["a", "b"], ["c", "d"]])), "numbers"),
    ],
)
def test_estimate_ends_with_code_1_for_bad_data(run, tmp_path, make, words):
    make(tmp_path / "bad.npy")
    before = sorted(tmp_path.iterdir())
    done = run("estimate", "bad.npy", "--json")
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("dimscope: ")
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.npy"], "nowhere.npy"),
        (["points.npy", "--fit", "spline"], "spline"),
        (["points.npy", "--discard", "1.5"], "--discard"),
        (["points.npy", "--estimator", "fourier"], "fourier"),
        (["points.npy", "--estimator", "missing.py:Mine"], "missing.py"),
        (["points.npy", "--resamples", "1"], "2"),
        (["points.npy", "--engine", "steam"], "use exact, sketched, sampled, approximate"),
        (
            ["points.npy", "--engine", "exact", "--estimator", "pca"],
            "does not search for neighbours",
        ),
        ([], "points"),
    ],
)
def test_estimate_ends_with_code_2_for_a_wrong_call(run, points, arguments, words):
    done = run("estimate", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert words in done.err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("estimate x.npy --estimator mle --fit regression", "options of twonn, not of mle"),
        ("estimate x.npy --rtol 0.1", "use --engine sampled"),
        ("estimate x.npy --estimator Gride(k=2)", "its parameters are n1, n2"),
        ("estimate x.npy --fit triplets --seed -1", "greater than or equal to 0"),
    ],
)
def test_estimate_refuses_options_that_do_not_fit_together(folder, refusal, call, message):
    assert message in refusal(*call.split())


def test_estimate_prints_no_error_where_there_is_none(folder, invoke):
    result = invoke("estimate", "x.npy", "--estimator", "pca")
    assert result.exit_code == 0, result.output
    assert "nan" not in result.output


def test_estimate_reads_other_files_and_says_how(run, points, tmp_path):
    cloud = np.load(points)
    np.savetxt(tmp_path / "points.csv", cloud, fmt="%.17g", delimiter=",")
    np.savez(tmp_path / "points.npz", a=cloud, b=cloud[:, :2])
    done = run("estimate", "points.csv", "--json")
    assert "points.csv: commas between columns; no header" in done.err
    dimension = float(ds.estimate(cloud))
    assert json.loads(done.out)["dimension"] == pytest.approx(dimension)
    refused = run("estimate", "points.npz")
    assert refused.code == 1
    assert "a (500, 3) float64, b (500, 2) float64; name one of them" in refused.err
    done = run("estimate", "points.npz", "--key", "a", "--json")
    assert (json.loads(done.out)["dimension"], done.err) == (dimension, "")
    done = run("estimate", "points.npz::a", "--json")
    assert (json.loads(done.out)["dimension"], done.err) == (dimension, "")
    for call in (("points.npz", "--key", "c"), ("points.npz::c",)):
        refused = run("estimate", *call)
        assert (refused.code, "no array 'c'" in refused.err) == (1, True)


def test_estimate_reads_a_file_whose_name_holds_two_colons(run, points, tmp_path):
    np.savetxt(tmp_path / "x::y.csv", np.load(points), fmt="%.17g", delimiter=",")
    done = run("estimate", "x::y.csv", "--json")
    assert json.loads(done.out)["dimension"] == pytest.approx(float(ds.estimate(np.load(points))))
    refused = run("estimate", "https://x.org/a.npy")
    assert (refused.code, "https://x.org/a.npy is a URL; download" in refused.err) == (1, True)


def test_estimate_reads_standard_input(folder, monkeypatch):
    content = (folder / "x.npy").read_bytes()
    result = CliRunner().invoke(app, ["estimate", "-", "--json"], input=content)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["dimension"] == float(ds.estimate(np.load("x.npy")))


def test_estimate_names_the_file_with_a_bad_value(run, tmp_path):
    (tmp_path / "points.csv").write_text("x,y\n1,2\n3,\n5,6\n7,9\n")
    done = run("estimate", "points.csv")
    assert done.code == 1
    assert "dimscope: points.csv: row 1, column 1 is nan; remove or replace" in done.err
