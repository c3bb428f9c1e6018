"""The command ``cite``."""

import numpy as np

import dimscope as ds


def test_cite_prints_what_the_library_returns(invoke, tmp_path):
    layer = ds.Layer("fc", "last_hidden")
    path = tmp_path / "p.json"
    profile = ds.Profile((layer,), {"twonn": {"fc": ds.Estimate(2.0, 0.1)}}, "net")
    profile.save(path)
    for style in ("bibtex", "text"):
        assert invoke("cite", path, "--style", style).stdout == ds.cite(profile, style) + "\n"


def test_cite_refuses_an_unknown_style_and_a_missing_file(refusal, tmp_path):
    assert "no file or folder" in refusal("cite", tmp_path / "p.json")
    layer = ds.Layer("fc", "last_hidden")
    ds.Profile((layer,), {"twonn": {"fc": ds.Estimate(2.0, 0.1)}}, "net").save(tmp_path / "p.json")
    assert "there is no style 'apa'" in refusal("cite", tmp_path / "p.json", "--style", "apa")


def test_cite_prints_the_sentence_for_a_methods_section(invoke, refusal, tmp_path):
    points = np.random.default_rng(0).random((50, 3))
    profile = ds.profile({"fc": points}, estimators=[ds.TwoNN(), ds.MLE()], name="net")
    profile.save(tmp_path / "p.json")
    printed = invoke("cite", tmp_path / "p.json", "--methods").stdout
    sentences = [profile.methods(estimator) for estimator in profile.estimators]
    assert len(sentences) == 2
    assert printed == "\n".join(sentences) + "\n\n" + ds.cite(profile) + "\n"
    layer = ds.Layer("fc", "last_hidden")
    failed = {"twonn": {"fc": ds.Estimate(np.nan, reason="all points are the same")}}
    ds.Profile((layer,), failed, "net").save(tmp_path / "p.json")
    assert "no layer of the profile was measured" in refusal(
        "cite", tmp_path / "p.json", "--methods"
    )
