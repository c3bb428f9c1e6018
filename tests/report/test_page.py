"""The page in a real browser: what it shows, what it says, what it downloads."""

import contextlib
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.manifolds import cube, embed

playwright = pytest.importorskip("playwright.sync_api")

PLOT = "document.querySelector('#profile-figure .plot')"
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
WAYS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}
MARKUP = "<img src=x onerror=window.hit=1>"
BOLD = "<b>bold</b>"
ENDING = "</script><script>window.hit=1</script><!--<script>"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium: make browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a page; when the test is over, it must have made no error and no request."""
    with contextlib.ExitStack() as stack:

        def call(path, way="light"):
            context = stack.enter_context(
                contextlib.closing(chromium.new_context(accept_downloads=True, **WAYS[way]))
            )
            page = context.new_page()
            page.set_default_timeout(60_000)
            troubles = []
            page.on("console", lambda message: troubles.append(message.text))
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("request", lambda request: troubles.append(request.url))
            stack.callback(check_troubles, troubles, path)
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]")
            return page

        yield call


def check_troubles(troubles, path):
    elsewhere = [trouble for trouble in troubles if not trouble.startswith("blob:")]
    assert elsewhere == [path.as_uri()]


@pytest.fixture(scope="module")
def network():
    """One measured network, whose layer b is a lower bound."""
    x = cube(400, 40)
    layers = {"input": embed(x[:, :3], 20), "b": embed(x, 60), "c": 0 * x, "output": x[:, :2]}
    return ds.profile(ds.Activations(layers, name="net"), companions=["effective_rank"])


@pytest.fixture(scope="module")
def single(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("single") / "page.html"
    x = cube(300, 3)
    curves = {"b": [ds.scale_curve(x, blocks=[1, 2, 4, 8]), ds.rank_curve(x, 16)]}
    ds.report(network, path, curves=curves, spectra={"input": ds.spectrum(embed(x, 20))})
    return path


@pytest.fixture(scope="module")
def networks():
    """Five networks of 20 layers; names hold markup."""
    layers = tuple(
        Layer(name, "hidden", n, n / 19, 64)
        for n, name in enumerate([ENDING, *map("blocks.{}.attention".format, range(18)), BOLD])
    )

    def dimension(n, number):
        return 4 + 12 * math.sin(math.pi * (n + 2) / 22) * (1 + number / 3)

    return [
        Profile(
            layers,
            {"twonn": {y.name: Estimate(dimension(n, k), 0.4, 900) for n, y in enumerate(layers)}},
            MARKUP if k == 4 else f"network {k}",
        )
        for k in range(5)
    ]


@pytest.fixture(scope="module")
def several(networks, tmp_path_factory):
    path = tmp_path_factory.mktemp("several") / "page.html"
    ds.report(networks, path)
    return path


def at_point(page, section, curve, point):
    """Return where a point is drawn, and scroll to it."""
    page.locator(f"#{section}-figure").scroll_into_view_if_needed()
    return page.evaluate(
        """([id, curve, point]) => {
            const plot = document.querySelector(`#${id}-figure .plot`);
            const { xaxis, yaxis } = plot._fullLayout, trace = plot._fullData[curve];
            const box = plot.getBoundingClientRect();
            return [box.left + xaxis._offset + xaxis.d2p(trace.x[point]),
                    box.top + yaxis._offset + yaxis.d2p(trace.y[point])];
        }""",
        [section, curve, point],
    )


def open_table(page):
    page.click("#profile summary")
    page.wait_for_selector("#profile table")


def downloaded(page, section):
    with page.expect_download() as waiting:
        page.click(f"#{section} button:has-text('CSV')")
    return pd.read_csv(waiting.value.path(), keep_default_na=False, na_values=[""])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("which", ["single", "several"])
def test_page_fits_the_window_and_is_photographed(visit, request, which, way):
    page = visit(request.getfixturevalue(which), way)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{which}-{way}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 50_000
    # the window of a phone grows with a page that is too wide
    width = WAYS[way]["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".figure .main-svg").count() >= 2


def test_page_is_drawn_soon(visit, several):
    page = visit(several)
    # About half a second on an idle machine.
    assert page.evaluate("performance.getEntriesByName('first drawing')[0].startTime") < 10_000


def test_hover_shows_the_numbers_of_a_layer(visit, single, network):
    page = visit(single)
    page.mouse.move(*at_point(page, "profile", 0, 0))
    page.wait_for_selector("#tip:not([hidden])")
    said = page.inner_text("#tip")
    estimate = network["input"]
    rank = network.of("effective_rank")["input"]
    for text in ("input", "net", str(estimate), "20", str(rank)):
        assert text in said
    lower, upper = estimate.interval
    assert f"{lower:.2f} to {upper:.2f}" in said
    assert f"{estimate.distance:.3g}".rstrip("0") in said


def test_hover_tells_why_a_layer_was_not_measured(visit, single, network):
    page = visit(single)
    page.mouse.move(*at_point(page, "profile", 1, 0))
    page.wait_for_selector("#tip:not([hidden])")
    assert network["c"].reason in page.inner_text("#tip")


def test_lower_bounds_have_open_markers(visit, single):
    page = visit(single)
    symbols = page.evaluate(f"{PLOT}.data[0].marker.symbol")
    assert symbols == ["circle", "circle-open", "circle", "circle"]


def test_csv_of_the_profile_equals_to_frame(visit, single, network):
    table = downloaded(visit(single), "profile")
    assert set(table.pop("network")) == {"net"}
    table["reason"] = table["reason"].fillna("")
    assert_frame_equal(table, network.to_frame(), check_exact=True, check_dtype=False)


def test_csv_of_several_networks_equals_their_frames(visit, several, networks):
    table = downloaded(visit(several), "profile")
    frames = [profile.to_frame().assign(network=profile.name) for profile in networks]
    for name in ("network", "layer", "dimension", "lower", "upper"):
        assert table[name].tolist() == pd.concat(frames)[name].tolist()


def test_differences_are_those_of_the_profile(visit, single, network):
    page = visit(single)
    expected = network.differences().to_frame()
    table = downloaded(page, "differences")
    assert_frame_equal(table.drop(columns="network"), expected, check_exact=True)
    page.mouse.move(*at_point(page, "differences", 0, 1))
    page.wait_for_selector("#tip:not([hidden])")
    said = page.inner_text("#tip")
    assert "output minus b" in said
    assert f"{expected['difference'][1]:.1f}" in said


def test_curves_and_spectra_are_drawn(visit, single):
    page = visit(single)
    headings = page.locator("h2").all_inner_texts()
    assert [name for name in headings if name.startswith(("Scale", "Spectra"))] == [
        "Scale: fewer points", "Scale: farther neighbours", "Spectra",
    ]  # fmt: skip
    curve = ds.scale_curve(cube(300, 3), blocks=[1, 2, 4, 8])
    assert curve.verdict in page.inner_text("#scale-n_points")
    table = downloaded(page, "scale-n_points")
    assert table["dimension"].tolist() == curve.to_frame()["dimension"].tolist()
    spectrum = ds.spectrum(embed(cube(300, 3), 20))
    positive = int((spectrum.eigenvalues > 0).sum())
    eigenvalues = downloaded(page, "spectra")["eigenvalue"].tolist()
    assert eigenvalues == spectrum.eigenvalues[:positive].tolist()


def test_diagnosis_is_told_in_words(visit, single, network):
    said = visit(single).inner_text("#diagnosis")
    for finding in ds.diagnose(network):
        if finding.verdict == "found":
            assert finding.says[1:] in said
            assert finding.advice[1:] in said


def test_markup_in_names_stays_text(visit, several):
    page = visit(several)
    open_table(page)
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert MARKUP in page.inner_text("#networks")
    assert page.locator("#profile tbody th").first.inner_text() == ENDING
    ticks = page.locator("#profile-figure .xtick text").all_text_contents()
    assert ticks[0].startswith("</script>")
    assert ticks[-1] == BOLD
    page.mouse.move(*at_point(page, "profile", 4, 0))
    page.wait_for_selector("#tip:not([hidden])")
    assert page.locator("#tip strong").inner_text() == ENDING
    assert MARKUP in page.inner_text("#tip")
    assert page.evaluate("window.hit") is None


def test_theme_follows_the_system_and_the_button(visit, several):
    page = visit(several, "dark")
    style = f"[getComputedStyle(document.body).backgroundColor, {PLOT}._fullLayout.font.color]"
    dark = page.evaluate(style)
    page.click("#theme")
    light = page.evaluate(style)
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    page.click("#theme")
    assert page.evaluate(style) == dark
    assert visit(several).evaluate(style) == light


def test_all_controls_are_reached_by_keyboard_in_order(visit, several):
    page = visit(several)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("e => (e = document.activeElement, e.id || e.ariaLabel || e.textContent)")
        )
    expected = [
        "Skip to the profile", "Profile", "Diagnosis", "theme", "show network 0",
        f"show {MARKUP}", "profile-figure", "Download numbers (CSV)", "Show the numbers as a table",
        "Diagnosis of every network",
    ]  # fmt: skip
    places = [reached.index(name) for name in expected]
    assert places == sorted(places)


def test_arrow_keys_speak_the_points(visit, single, network):
    page = visit(single)
    page.focus("#profile-figure")
    page.keyboard.press("ArrowRight")
    said = page.inner_text("#spoken")
    assert said.startswith(f"input, net: dimension (ID) {network['input']}")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#spoken").startswith("b, net: dimension (ID) ≥")
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


def test_figures_and_tables_have_names_for_screen_readers(visit, single):
    page = visit(single)
    for opened in page.locator("summary").all():
        opened.click()
    nameless = page.evaluate(
        """[...document.querySelectorAll('.figure, .scroll, select, input, pre')]
        .filter(e => !(e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("table caption").count() == page.locator("table").count() >= 4


def test_a_network_can_be_hidden(visit, several):
    page = visit(several)
    count = f"{PLOT}.data.length"
    assert page.evaluate(count) == 5
    page.uncheck("#networks input >> nth=1")
    assert page.evaluate(count) == 4


def test_another_quantity_and_axis_can_be_chosen(visit, single, network):
    page = visit(single)
    data = f"[{PLOT}.data[0].x, {PLOT}.data[0].y]"
    page.select_option("#profile select >> nth=0", "effective_rank")
    assert page.evaluate(data)[1][0] == network.beside("effective_rank")["input"]
    page.select_option("#profile select >> nth=1", "depth")
    assert page.evaluate(data)[0] == [layer.relative_depth for layer in network.layers]


def test_table_shows_the_numbers_and_sorts_them(visit, several, networks):
    page = visit(several)
    open_table(page)
    cells = page.locator("#profile tbody td:nth-child(5)")
    assert cells.count() == 100
    page.click("#profile thead button:has-text('dimension')")
    lowest = min(estimate.dimension for profile in networks for estimate in profile.values())
    assert cells.first.inner_text() == str(Estimate(lowest, 0.4))
    assert page.get_attribute("#profile th:has-text('dimension')", "aria-sort") == "ascending"


def test_networks_with_other_layers_are_drawn_along_relative_depth(visit, networks, tmp_path):
    other = Profile((Layer("a", relative_depth=0.5),), {"twonn": {"a": Estimate(3.0, 0.1)}}, "b")
    ds.report([networks[0], other], tmp_path / "p.html")
    page = visit(tmp_path / "p.html")
    assert page.evaluate(f"{PLOT}.data.map(curve => curve.x.at(-1))") == [1, 0.5]


def test_page_of_layers_that_were_not_measured_says_why(visit, tmp_path):
    layers = (Layer("a"), Layer("b"))
    dead = {layer.name: Estimate(math.nan, reason="all points are the same") for layer in layers}
    ds.report(Profile(layers, {"twonn": dead}, "dead"), tmp_path / "p.html")
    page = visit(tmp_path / "p.html")
    open_table(page)
    assert "all points are the same" in page.inner_text("#profile table")
