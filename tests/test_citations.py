"""What a value cites: the software, the paper, its estimators, and the data that it names."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import dimscope as ds
import dimscope.estimators as estimators
from dimscope.citations import _entries, keys_for_estimator

ROOT = Path(__file__).parents[1]
POINTS = np.random.default_rng(0).random((60, 4))
ESTIMATORS = [
    kind
    for name in estimators.__all__
    if isinstance(kind := getattr(estimators, name), type)
    and issubclass(kind, ds.Estimator)
    and not inspect.isabstract(kind)
    and kind not in (ds.Resampled, ds.Corrected)  # they wrap another estimator
]


def keys_in(bibtex):
    return re.findall(r"^@\w+\{(\w+),$", bibtex, re.MULTILINE)


def references_of(docstring):
    """Return the families and years that a docstring's section References names."""
    section = re.search(r"References\n\s*-+\n(.*?)(?=\n\s*\n\s*\w+\n\s*-+\n|\Z)", docstring, re.S)
    text = " ".join(section.group(1).split()) if section else ""
    first_authors = re.findall(r"(?:^|\)\.\s)((?:[A-Z]\.\s)+)([A-Z]\w+)", text)
    return [family.lower() for _, family in first_authors], re.findall(r"\((\d{4})\)", text)


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_estimators_cite_the_references_of_their_docstring(kind):
    families, years = references_of(kind.__doc__)
    keys = keys_for_estimator(kind.__name__)
    assert keys
    assert sorted(keys) == sorted(map("".join, zip(families, years, strict=True)))


def test_references_of_a_docstring_are_found():
    assert len(ESTIMATORS) >= 8
    assert references_of("A.\n\n    References\n    ----------\n    O. Roy and M. X, (2007).") == (
        ["roy"],
        ["2007"],
    )


def test_cite_names_software_paper_and_estimators_of_a_profile(tmp_path):
    profile = ds.profile(
        ds.Activations({"a": POINTS}), estimators=[ds.Gride(2, 4), ds.MLE(k=5)], name="net"
    )
    keys = keys_in(ds.cite(profile))
    assert keys == ["dimscope", "ansuini2019", "denti2022", "levina2004", "mackay2005"]
    profile.save(tmp_path / "p.json")
    assert ds.cite(ds.Profile.load(tmp_path / "p.json")) == ds.cite(profile)


def test_cite_takes_estimates_curves_and_estimators():
    assert "facco2017" in keys_in(ds.cite(ds.estimate(POINTS)))
    assert "denti2022" in keys_in(ds.cite(ds.rank_curve(POINTS)))
    assert keys_in(ds.cite(ds.EffectiveRank())) == ["dimscope", "ansuini2019", "roy2007"]
    resampled = ds.Resampled(ds.TwoNN(), n=3)
    assert keys_in(ds.cite(resampled)) == keys_in(ds.cite(ds.TwoNN()))
    assert "roy2007" not in ds.cite(ds.TwoNN())


def test_cite_names_the_data_of_a_provenance():
    @dataclass
    class Value:
        provenance: ds.Provenance

    source = ds.Provenance("capture", {"data": {"folder": "/data/MNIST/raw"}})
    keys = keys_in(ds.cite(Value(ds.Provenance("profile", inputs=(source,)))))
    assert keys == ["dimscope", "ansuini2019", "lecun2010"]


def test_cite_does_not_take_other_data_for_mnist():
    for name in ("fashion_mnist_cnn", "EMNIST", "not-mnist", "specifari"):
        profile = ds.profile(ds.Activations({"a": POINTS}, name=name))
        assert keys_in(ds.cite(profile)) == ["dimscope", "facco2017", "ansuini2019"]


def test_cite_in_text_gives_one_reference_a_line():
    lines = ds.cite(ds.TwoNN(), style="text").splitlines()
    assert len(lines) == 3
    assert lines[0] == f"The dimscope developers. dimscope. version {ds.__version__}."
    assert lines[1].endswith(
        "Scientific Reports, 7, 12140, 2017. https://doi.org/10.1038/s41598-017-11873-y"
    )


def test_cite_refuses_other_values_and_styles():
    with pytest.raises(TypeError, match="list has no provenance; give an estimate"):
        ds.cite([1, 2])
    with pytest.raises(ValueError, match="style is 'apa'; use one of 'bibtex', 'text'"):
        ds.cite(ds.TwoNN(), style="apa")


def test_citations_agree_with_the_citation_file():
    text = (ROOT / "CITATION.cff").read_text()
    entries = _entries()
    assert f'title: "{entries["ansuini2019"]["title"]}"' in text
    first, last = entries["ansuini2019"]["pages"].split("--")
    assert f"start: {first}\n" in text
    assert f"end: {last}\n" in text
    assert f"title: {entries['dimscope']['title']}\n" in text
    assert entries["dimscope"]["author"].strip("{}") in text


@pytest.mark.parametrize(("key", "entry"), _entries().items())
def test_every_reference_is_complete(key, entry):
    assert {"kind", "title", "author"} <= set(entry)
    if key != "dimscope":
        family = entry["author"].split(",")[0].lower()
        assert key == family + entry["year"]
