"""The command ``cite``."""

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
