"""``--exclude``, ``--groups`` and ``--classes`` are the arguments of the public calls."""

import json

import numpy as np
import pytest

import dimscope as ds


@pytest.fixture
def ids(folder):
    """A file with the ids of 40 texts, in words, for the rows of x.npy."""
    values = np.array([f"text {i // 5}" for i in range(200)])
    np.save(folder / "ids.npy", values)
    return values


def printed(invoke, *arguments):
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_estimate_takes_exclude_and_groups(folder, ids, invoke):
    found = printed(invoke, "estimate", "x.npy", "--exclude", "ids.npy", "--groups", "ids.npy")
    expected = ds.estimate(np.load("x.npy"), exclude=ids, groups=ids)
    assert found["dimension"] == expected.dimension
    assert found["std_error"] == expected.std_error
    assert found["n_groups"] == 40
    shown = invoke("estimate", "x.npy", "--groups", "ids.npy").output
    assert "40, the units of the standard error" in shown


def test_estimate_says_why_few_groups_have_no_error(folder, invoke):
    np.save("few.npy", np.arange(200) // 50)
    shown = " ".join(invoke("estimate", "x.npy", "--groups", "few.npy").output.split())
    assert "4 groups are too few" in shown
    assert "95 % interval" not in shown


def test_scale_takes_exclude(folder, ids, invoke):
    found = printed(invoke, "scale", "x.npy", "--blocks", "2", "--exclude", "ids.npy")
    expected = ds.scale_curve(np.load("x.npy"), blocks=range(1, 3), exclude=ids)
    dimensions = [row["dimension"] for row in found["points"]["scales"]]
    assert dimensions == pytest.approx([point.dimension for point in expected.points])


def test_profile_takes_exclude_groups_and_classes(folder, ids, invoke):
    call = ("profile", "net.py:make", "--data", "x.npy", "--labels", "y.npy")
    # groups of rows 5 i to 5 i + 4, each of which has rows of both classes
    found = printed(invoke, *call, "--groups", "ids.npy", "--exclude", "ids.npy")
    expected = ds.estimate(np.load("x.npy"), groups=ids, exclude=ids)
    assert found["layers"][0]["twonn"]["std_error"] == expected.std_error
    assert found["layers"][0]["twonn"]["dimension"] == expected.dimension
    fixed = printed(invoke, *call, "--by-class", "--classes", "fixed")
    random = printed(invoke, *call, "--by-class")
    kinds = [p["layers"][0]["twonn"]["classes_are"] for p in (fixed, random)]
    assert kinds == ["fixed", "random"]
    shown = " ".join(invoke(*call, "--by-class", "--classes", "fixed").output.split())
    assert "one standard error, for fixed classes" in shown


def test_profile_of_a_store_takes_groups(folder, ids, invoke):
    assert invoke("capture", "net.py:make", "--data", "x.npy", "--out", "s.zarr").exit_code == 0
    found = printed(invoke, "profile", "s.zarr", "--groups", "ids.npy")
    assert found["layers"][0]["twonn"]["n_groups"] == 40


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("estimate x.npy --groups nowhere.npy", "there is no file or folder nowhere.npy"),
        ("estimate x.npy --exclude few.npy", "exclude has 3 ids, but there are 200 rows"),
        ("estimate x.npy --estimator pca --groups ids.npy", "does not search for neighbours"),
        ("profile net.py:make --data x.npy --classes fixed", "without --by-class"),
        (
            "profile net.py:make --data x.npy --labels y.npy --by-class --classes all",
            "use random or fixed",
        ),
        (
            "profile net.py:make --data x.npy --n-points 100 --groups ids.npy",
            "groups is an array, but n_points or per_class draws some of the rows",
        ),
        ("profile net.py:make --data images --groups ids.npy", "no fixed order"),
    ],
)
def test_ids_that_do_not_fit_are_refused(folder, ids, refusal, call, message):
    np.save("few.npy", np.arange(3))
    (folder / "images").mkdir()
    assert message in refusal(*call.split())
