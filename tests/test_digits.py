"""A number and its error are printed to the same place, by one rule, wherever they are printed."""

import io
import math
import re
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import dimscope
import dimscope as ds
from dimscope.cli.tables import comparison_table, estimate_table, profile_table, scale_table
from dimscope.digits import decimals, with_error
from dimscope.monitoring.alarms import _plus_minus
from dimscope.monitoring.history import Average
from dimscope.neighbors.guarantee import Guarantee
from dimscope.profiles.diagnosis.findings import Number
from dimscope.reports.contents import contents_of

PAIR = re.compile(r"(-?\d+(?:\.\d+)?) (?:±|\\pm) (\d+(?:\.\d+)?)")


def follows_the_rule(number, error):
    """Whether printed digits end at one place, with one digit of the error, or two after a 1.

    Whole numbers keep all their digits, and 0.196, which starts with 1, is printed as 0.20.
    """
    whole, _, fraction = error.partition(".")
    if len(number.partition(".")[2]) != len(fraction):
        return False
    digits = (whole + fraction).lstrip("0")
    return not fraction or len(digits) == 1 + (digits[0] == "1" or digits == "20")


def by_decimals(number, error):
    """Apply the rule in decimal arithmetic."""
    exact = Decimal(error)
    places = max(0, -exact.adjusted() + (exact.as_tuple().digits[0] == 1))
    step = Decimal(1).scaleb(-places)
    return tuple(Decimal(x).quantize(step, ROUND_HALF_EVEN) for x in (number, error))


def test_with_error_prints_both_to_the_same_place():
    rng = np.random.default_rng(0)
    for _ in range(20000):
        error = float(10 ** rng.uniform(-5, 4))
        number = float(rng.normal() * error * 10 ** rng.uniform(0, 3))
        text = with_error(number, error)
        printed = PAIR.fullmatch(text).groups()
        assert follows_the_rule(*printed), text
        assert tuple(map(Decimal, printed)) == by_decimals(number, error)
        assert text == with_error(float(number), error).replace("+", "")


@pytest.mark.parametrize(
    ("number", "error", "text"),
    [
        (3.02, 0.091, "3.02 ± 0.09"),
        (14.12, 0.52, "14.1 ± 0.5"),
        (10.301, 0.099, "10.30 ± 0.10"),
        (10.301, 0.1, "10.30 ± 0.10"),
        (10.301, 0.198, "10.30 ± 0.20"),
        (58.7, 11.6, "59 ± 12"),
        (1234.5, 340.0, "1234 ± 340"),
        (3.0213, math.nan, "3.021"),
        (3.0213, math.inf, "3.021"),
        (3.0213, 0.0, "3.021"),
    ],
)
def test_with_error_examples(number, error, text):
    assert with_error(number, error) == text
    assert with_error(number, error, sign="+") == f"+{text}"


def test_decimals_of_a_rounded_up_error():
    assert [decimals(error) for error in (0.0949, 0.0951, 0.0996, 0.196, 9.96)] == [2, 2, 2, 2, 0]


def text_of(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def places():
    """Every place that prints a number with its error, with the text that it prints."""
    rng = np.random.default_rng(3)
    layers = (ds.Layer("a", "input"), ds.Layer("b"), ds.Layer("c", "last_hidden"))
    clouds = [rng.standard_normal((400, d)) @ rng.standard_normal((d, 12)) for d in (2, 9, 4)]
    activations = ds.Activations(dict(zip("abc", clouds, strict=True)), name="net")
    profile = ds.profile(activations)
    curve = ds.scale_curve(clouds[1])
    estimates = profile.of("twonn")
    comparison = ds.compare(
        [ds.Profile(layers, {"twonn": dict(estimates)}, name=f"n{i}") for i in range(3)],
        {f"n{i}": float(i) for i in range(3)},
    )
    page = contents_of([profile], {"b": curve})
    return {
        "str": str(estimates["b"]),
        "repr": repr(estimates["b"]),
        "html": estimates["b"]._repr_html_(),
        "table of an estimate": text_of(estimate_table(estimates["b"], "", (400, 12))),
        "table of a profile": text_of(profile_table(profile)),
        "table of a curve": text_of(scale_table(curve, "")),
        "table of networks": text_of(comparison_table(comparison)),
        "latex": profile.to_latex(),
        "profile html": profile._repr_html_(),
        "difference": str(ds.difference(estimates["a"], estimates["b"])),
        "difference html": ds.difference(estimates["a"], estimates["b"])._repr_html_(),
        "differences": str(profile.differences()),
        "change": str(profile.differences()[0]),
        "peak": str(profile.peak()),
        "diagnosis": str(ds.diagnose(profile)),
        "recall": str(Guarantee.measured("faiss", 0.9912, 0.0123, 100)),
        "number": str(Number(17.2312, 0.8213)),
        "alarm": _plus_minus(Average(17.2312, 0.8213, 5)),
        "page": str(page),
    }


def test_every_place_prints_numbers_with_errors_by_the_rule(places):
    for place, text in places.items():
        pairs = PAIR.findall(text)
        assert pairs, (place, text)
        assert [pair for pair in pairs if not follows_the_rule(*pair)] == [], place


def test_no_other_code_puts_digits_on_an_error():
    source = Path(dimscope.__file__).parent
    for path in (*source.rglob("*.py"), *(source / "reports").glob("page.*")):
        if path.name != "digits.py":
            assert re.search(r"(\}|\)\})\s?±\s?(\{|\$\{)", path.read_text()) is None, path


def test_other_digits_are_found():
    assert follows_the_rule("17.2", "0.8")
    assert not follows_the_rule("17.2", "0.82")
    assert not follows_the_rule("17.23", "0.82")
    assert not follows_the_rule("17.20", "0.30")
