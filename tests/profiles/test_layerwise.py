"""Profiles: one layer, class or estimator that fails leaves all others as they are."""

import json
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import dimscope as ds
from broken import FAILURES, REASONS, Broken, without_provenance
from dimscope.arrays.block_points import Blocks
from dimscope.cli.tables import profile_table
from dimscope.manifolds import cube
from dimscope.profiles.layerwise import measure_layers
from dimscope.provenance import Provenance

SIZES = {"cat": 40, "dog": 50, "fox": 60}
LABELS = np.repeat([0, 1, 2], list(SIZES.values()))


@pytest.fixture(scope="module")
def activations():
    return ds.Activations(
        {"input": cube(150, 2), "hidden": cube(150, 3), "output": cube(150, 4)},
        labels=LABELS,
        class_names=tuple(SIZES),
        name="net",
    )


def told(profile, capsys):
    """What table, frame, file and plot say about a profile."""
    from rich.console import Console

    Console(width=1000).print(profile_table(profile))
    frame = profile.to_frame()
    rows = frame if "label" not in frame else frame[frame["label"] == "mean"]
    ax = profile.plot(plt.figure().subplots())
    legend = ax.get_legend()
    return {
        "table": capsys.readouterr().out,
        "frame": " ".join(rows["reason"]),
        "file": json.dumps(profile.to_dict()),
        "plot": " ".join(text.get_text() for text in legend.get_texts()) if legend else "",
    }


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_estimator_leaves_the_others_in_every_layer(activations, failure, capsys):
    alone = measure_layers(activations, ds.Gride(2, 4))
    both = measure_layers(activations, {"broken": Broken(failure), "gride": ds.Gride(2, 4)})
    for layer in activations:
        assert without_provenance(both.of("gride")[layer]) == without_provenance(alone[layer])
        assert math.isnan(both[layer].dimension)
        assert REASONS[failure] in both[layer].reason
        assert "in evaluate" in both[layer].traceback or failure in ("NaN", "infinity", "no number")
    words = told(both, capsys)
    assert all(REASONS[failure] in words[place] for place in ("table", "frame", "file"))
    assert "3 not measured" in words["plot"]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_class_leaves_the_others_and_is_told(activations, failure, capsys):
    whole = measure_layers(activations, by_class=True)
    part = measure_layers(activations, {"twonn": Broken(failure, SIZES["dog"])}, by_class=True)
    assert list(part.classes) == ["cat", "dog", "fox"]
    for layer in activations:
        for label in ("cat", "fox"):
            assert part.classes[label][layer].dimension == whole.classes[label][layer].dimension
        assert REASONS[failure] in part.classes["dog"][layer].reason
        mean = part[layer]
        assert mean.classes == ("cat", "fox")
        assert mean.classes_failed == ("dog",)
        assert mean.dimension == np.mean([float(part.classes[c][layer]) for c in mean.classes])
        assert "mean over 2 of 3 classes" in repr(mean)
        assert "mean over 3 classes" in repr(whole[layer])
    words = told(part, capsys)
    reason = "1 of 3 classes could not be measured: dog: "
    assert reason in words["frame"]
    assert REASONS[failure] in words["frame"]
    assert reason in words["table"].replace("\n", " ")
    assert "mean over 2 of 3 classes" in words["table"]
    assert reason in words["file"]
    assert "3 with classes missing" in words["plot"]


def test_a_failing_layer_leaves_the_others(activations, capsys):
    broken = replace(
        activations, points={**activations.points, "hidden": np.full((150, 3), np.nan)}
    )
    whole, part = measure_layers(activations), measure_layers(broken)
    assert part["input"] == whole["input"]
    assert part["output"] == whole["output"]
    assert "not finite" in part["hidden"].reason or "NaN" in part["hidden"].reason
    words = told(part, capsys)
    assert part["hidden"].reason in words["table"]
    assert part["hidden"].reason in words["frame"]
    assert "1 not measured" in words["plot"]


def test_a_layer_that_cannot_be_read_leaves_the_others(activations):
    class Gone(Blocks):
        def read(self, rows, columns):
            raise OSError("the disk is gone")

    gone = Gone((150, 3), np.dtype("float32"))
    part = measure_layers(replace(activations, points={**activations.points, "hidden": gone}))
    assert part["output"] == measure_layers(activations)["output"]
    assert part["hidden"].reason == "OSError: the disk is gone"


def test_a_loaded_profile_tells_which_classes_failed(activations, tmp_path):
    part = measure_layers(activations, Broken("NaN", SIZES["dog"]), by_class=True)
    part.save(tmp_path / "p.json")
    again = ds.Profile.load(tmp_path / "p.json")
    assert again == part
    older = json.loads((tmp_path / "p.json").read_text())
    for row in older["layers"]:  # as an earlier version wrote it
        del row["broken"]["classes"], row["broken"]["classes_failed"]
    assert ds.Profile.from_dict(older)["input"].classes_failed == ("dog",)


@pytest.mark.parametrize("by_class", [False, True])
def test_ctrl_c_keeps_the_layers_measured_so_far(activations, by_class):
    seen = []

    def interrupt(step, done, total):
        seen.append(step)
        if step == "measuring hidden" and len([s for s in seen if s == step]) == 2:
            raise KeyboardInterrupt

    with pytest.raises(ds.Interrupted) as caught:
        measure_layers(activations, by_class=by_class, progress=interrupt)
    partial, whole = caught.value.partial, measure_layers(activations, by_class=by_class)
    first = partial.classes["cat"] if by_class else partial
    expected = whole.classes["cat"] if by_class else whole
    assert first["input"] == expected["input"]
    assert math.isnan(partial["output"].dimension)
    assert "interrupted" in partial["output"].reason


def test_an_error_of_the_progress_callback_stops_the_profile(activations):
    def stop(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        measure_layers(activations, progress=stop)


def test_warnings_name_the_layer_and_the_class():
    grid = np.random.default_rng(0).integers(0, 3, (300, 20)).astype(float)
    activations = ds.Activations({"a": grid}, labels=np.arange(300) % 2)
    with pytest.warns(ds.TiedPoints, match="^layer a: "):
        ds.profile(activations)
    with pytest.warns(ds.TiedPoints) as caught:
        ds.profile(activations, by_class=True)
    assert [str(warning.message).split(":")[0] for warning in caught] == [
        "class 0, layer a", "class 1, layer a",
    ]  # fmt: skip


def test_methods_say_what_a_point_is():
    points = cube(300, 2)
    captured = Provenance("capture", {"readout": "last"})
    profile = ds.profile(ds.Activations({"a": points}, name="net", provenance=captured))
    assert "of the network net (300 points, each the last token of a stimulus)" in profile.methods()
    saved = ds.profile(ds.open_activations({"a": points}, name="counts"))
    assert "1 layer of counts (300 points) was" in saved.methods()
