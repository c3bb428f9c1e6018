"""Figures hold the numbers of the profiles, and are written whole."""

import numpy as np
import pytest
from matplotlib.text import Text

import dimscope as ds
from dimscope.manifolds import cube
from dimscope.plotting.figures import save_figure
from dimscope.plotting.profile_plots import plot_profiles
from dimscope.profiles.layerwise import measure_layers


def profile(name, by_class=False):
    rng = np.random.default_rng(0)
    activations = ds.Activations(
        {"input": cube(60, 2), "output": cube(60, 4)}, labels=rng.permutation(np.arange(60) % 2)
    )
    return measure_layers(activations, by_class=by_class, name=name)


def curves(ax):
    """y values of every line with a point for each layer."""
    return [list(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) == 2]


def test_plot_profile_draws_the_dimensions():
    net = profile("net")
    ax = net.plot()
    assert [e.dimension for e in net.values()] in curves(ax)
    assert ax.get_xlabel() == "relative depth"
    assert ax.get_ylim()[0] == 0


@pytest.mark.parametrize("n_layers", [5, 25, 60])
def test_plot_profile_keeps_layer_names_apart(n_layers):
    names = [f"features.{i}.block" for i in range(n_layers)]
    layers = tuple(
        ds.Layer(name, depth=i, relative_depth=i / (n_layers - 1)) for i, name in enumerate(names)
    )
    net = ds.Profile(layers, {"twonn": dict.fromkeys(names, ds.Estimate(3.0, 0.1))})
    ax = net.plot()
    figure = ax.figure
    figure.canvas.draw()
    labels = ax.child_axes[0].get_xticklabels()
    assert labels[0].get_text() == names[-1]
    assert min(len(names), 12) <= len(labels)
    places = [label.get_position()[0] for label in labels]
    pixels = ax.transData.transform([(place, 0) for place in sorted(places)])[:, 0]
    gap = np.diff(pixels).min() / figure.dpi * 72
    angle = np.radians(labels[0].get_rotation())
    assert gap * np.sin(angle) >= labels[0].get_fontsize()


def test_plot_profile_by_class_draws_the_means():
    net = profile("net", by_class=True)
    assert [e.dimension for e in net.values()] in curves(net.plot())


def test_plot_profiles_has_a_legend():
    ax = plot_profiles([profile("first"), profile("second")])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["first", "second"]


def test_plot_profiles_says_what_the_bars_are_if_it_holds_for_all():
    first, second = profile("first"), profile("second")
    alone = first.plot().get_title().removeprefix("first, ")
    assert plot_profiles([first, second]).get_title() == alone
    more = ds.profile(ds.Activations({"a": cube(700, 2)}))
    assert plot_profiles([first, more]).get_title() == ""


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_save_figure_writes_the_format_of_the_ending(ending, start, tmp_path):
    save_figure(profile("net").plot(), tmp_path / f"p.{ending}")
    assert (tmp_path / f"p.{ending}").read_bytes().startswith(start)
    assert len(list(tmp_path.iterdir())) == 1


def test_save_figure_explains_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(ds.BadSource, match="cannot write"):
        save_figure(profile("net").plot(), tmp_path / "no" / "p.png")


def cloud_profile(*estimators, name=None):
    cloud = np.random.default_rng(0).standard_normal((300, 60))
    return measure_layers(ds.Activations({"a": cloud}), list(estimators), name=name)


def test_plot_of_several_estimators_has_a_legend_and_a_title():
    ax = cloud_profile(ds.TwoNN(), ds.PCA(), name="net").plot()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["net twonn", "net pca"]
    assert ax.get_title() == "net, 300 points, bars: 95 % intervals"


@pytest.mark.parametrize(("estimator", "shaded"), [(ds.TwoNN(), True), (ds.PCA(), False)])
def test_plot_shows_only_neighbour_estimates_as_lower_bounds(estimator, shaded):
    ax = cloud_profile(estimator).plot()
    assert any(text.get_text() == "lower bounds" for text in ax.texts) == shaded


def test_plot_draws_companions_in_panels_below():
    net = ds.profile(
        ds.Activations({"input": cube(60, 2), "output": 1000 * cube(60, 4)}),
        companions=["distance", "hubness", "effective_rank"],
    )
    ax = net.plot(companions=True)
    main, *panels = ax.figure.axes
    assert main is ax
    assert [e.dimension for e in net.values()] in curves(ax)
    assert list(net.beside("effective_rank").values()) not in curves(ax)
    drawn = [curves(panel)[0] for panel in panels]
    assert drawn == [list(net.beside(name).values()) for name in net.companions]
    assert [panel.get_yscale() for panel in panels] == ["log", "linear", "linear"]
    assert panels[-1].get_xlabel() == "relative depth"
    assert ax.get_xlabel() == ""
    assert len({panel.lines[0].get_color() for panel in panels}) == 3


def test_plot_refuses_companions_on_given_axes_or_without_any():
    net = profile("net")
    with pytest.raises(ValueError, match="has no companions"):
        net.plot(companions=True)
    with pytest.raises(ValueError, match="leave out ax"):
        net.plot(net.plot(), companions=True)


def scores():
    layers = (ds.Layer("fc", "last_hidden"),)
    profiles = [
        ds.Profile(layers, {"twonn": {"fc": ds.Estimate(3.0 + i, 0.1)}}, name)
        for i, name in enumerate("abcd")
    ]
    return ds.compare(profiles, dict(zip("abcd", (0.9, 0.8, 0.85, 0.7), strict=True)))


PLOTS = {
    "profile": lambda **given: profile("net").plot(**given),
    "profiles": lambda **given: scores().plot(of="profiles", **given),
    "comparison": lambda **given: scores().plot(**given),
    "scale": lambda **given: ds.rank_curve(cube(200, 2), 8).plot(**given),
}


@pytest.mark.parametrize("kind", PLOTS)
@pytest.mark.parametrize(("width", "millimetres"), [("column", 85), ("page", 175)])
def test_plot_for_a_paper_has_its_width_and_small_text(kind, width, millimetres):
    ax = PLOTS[kind](width=width)
    figure = ax.figure
    figure.draw_without_rendering()
    assert figure.get_figwidth() * 25.4 == pytest.approx(millimetres, abs=1)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert len(texts) > 5
    assert {text.get_fontsize() for text in texts} <= {7, 8}
    assert ax.get_title() == ""
    assert figure.get_tightbbox().x1 <= figure.get_figwidth() + 0.02  # nothing is cut off


def test_plot_refuses_a_width_for_given_axes_and_a_width_that_is_none():
    net = profile("net")
    with pytest.raises(ValueError, match="leave out ax or width"):
        net.plot(net.plot(), width="column")
    with pytest.raises(ValueError, match="width"):
        net.plot(width="letter")
