"""A profile as a LaTeX table, and as a sentence for the methods section."""

import math
import re
import shutil
import subprocess

import numpy as np
import pytest

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.manifolds import cube, gaussian
from dimscope.profiles.latex import escaped

NAMES = ["input", "layer1.0_a", "fc1>relu", "#2 {x} 50% & $y^2~z$", "back\\slash <b>"]
LAYERS = tuple(Layer(name, depth=i, n_features=10 * i) for i, name in enumerate(NAMES))
VALUES = [
    Estimate(3.0, 0.1, n_points=500),
    Estimate(25.0, 1.25, n_points=500, is_lower_bound=True),
    Estimate(math.nan, reason="too few points", n_points=500),
    Estimate(12.0, n_points=500),
    Estimate(7.0, 0.3, n_points=500),
]
PROFILE = Profile(LAYERS, {"twonn": dict(zip(NAMES, VALUES, strict=True))}, "net")


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\"))]


def test_latex_table_has_a_row_for_each_layer():
    lines = PROFILE.to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrr}"
    assert [lines[i] for i in (1, 3, -2, -1)] == [
        r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"
    ]  # fmt: skip
    rows = [cells(line) for line in lines[4:-2]]
    assert {len(row) for row in rows} == {5} == {len(cells(lines[2]))}
    assert [row[3] for row in rows] == [
        r"$3.00 \pm 0.10$", r"$\geq 25.0 \pm 1.2$", "--", "$12$", r"$7.0 \pm 0.3$"
    ]  # fmt: skip
    assert [row[1:3] for row in rows] == [[str(i), str(10 * i)] for i in range(5)]
    assert {row[4] for row in rows} == {"500"}


def test_escaped_names_hold_no_bare_special_character():
    for name in NAMES:
        bare = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]", "", escaped(name))
        assert not set(bare) & set("\\&%$#_{}~^<>")


def test_latex_table_has_a_column_for_each_companion():
    activations = ds.Activations({"a": gaussian(200, 3), "flat": np.zeros((200, 2))})
    profile = ds.profile(activations, companions=["effective_rank", "distance"])
    lines = profile.to_latex().splitlines()
    assert cells(lines[2])[4:6] == ["Effective rank", "Distance"]
    assert cells(lines[4])[5] == f"{profile['a'].distance:.3g}"
    assert cells(lines[5])[3:6] == ["--"] * 3


def test_latex_table_of_another_estimator():
    activations = ds.Activations({"a": cube(200, 3)})
    profile = ds.profile(activations, estimators=[ds.TwoNN(), ds.PCA()])
    assert "$3$" in profile.to_latex("pca")
    with pytest.raises(KeyError, match="no estimator"):
        profile.to_latex("mle")


# Without LaTeX, the tests of the rows and of the escaped names stand alone.
if shutil.which("pdflatex"):

    def test_latex_table_compiles(tmp_path):
        (tmp_path / "page.tex").write_text(
            "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
            + PROFILE.to_latex()
            + "\\end{document}\n",
            encoding="utf-8",
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert (tmp_path / "page.pdf").stat().st_size > 1000


# -- sentences ---------------------------------------------------------------------------


def test_methods_of_a_profile_state_how_it_was_measured():
    activations = ds.Activations({"a": cube(200, 3), "b": gaussian(200, 60)}, name="net")
    text = ds.profile(activations, estimators=ds.Gride(2, 4)).methods()
    assert text == (
        "The intrinsic dimension of 2 layers of the network net (200 points) was estimated by "
        "Gride(n1=2, n2=4) [denti2022] from the distances between nearest neighbours (exact to "
        "1e-6); values above 20 are lower bounds; errors are one standard error, from the "
        "influence of each point, allowing for the dependence between neighbours (dimscope "
        f"{ds.__version__} [dimscope], which implements the method of [ansuini2019])."
    )


def test_methods_of_a_loaded_profile_are_the_same(tmp_path):
    profile = ds.profile(ds.Activations({"a": cube(200, 3)}))
    profile.save(tmp_path / "p.json")
    assert ds.Profile.load(tmp_path / "p.json").methods() == profile.methods()


def test_methods_of_a_mean_over_classes_name_its_error():
    activations = ds.Activations({"a": cube(300, 3)}, labels=np.arange(300) % 3)
    text = ds.profile(activations, by_class=True).methods()
    assert "as the mean over 3 classes" in text
    assert "standard error of the mean over the classes, with 2 degrees of freedom" in text
    assert f"dimscope {ds.__version__}" in text


def test_methods_at_a_distance_name_the_blocks():
    activations = ds.Activations({"a": cube(400, 2), "b": cube(400, 3)})
    profile = ds.profile_at_scale(activations)
    size = profile["a"].provenance.parameters["points in a block"]
    assert f"in disjoint random blocks of {size} points" in profile["a"].methods()
    assert f"in disjoint random blocks of {size} to 400 points" in profile.methods()


def test_methods_refuse_what_was_not_measured():
    missing = Profile((Layer("a"),), {"twonn": {"a": Estimate(math.nan, reason="tied")}})
    with pytest.raises(ValueError, match="no layer"):
        missing.methods()
