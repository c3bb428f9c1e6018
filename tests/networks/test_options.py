"""The options of a capture: one definition behind the verbs, checked once."""

import dataclasses
import inspect
import subprocess
import sys
import typing

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope.networks.capturing import readouts
from dimscope.networks.options import (
    CaptureKeywords,
    CaptureOptions,
    ProfileKeywords,
    ReadoutName,
)

X = torch.arange(60.0).reshape(20, 3).sin()
VERBS = (ds.capture, ds.plan, ds.profile)
FIELDS = {field.name: field for field in dataclasses.fields(CaptureOptions)}


def test_keywords_equal_the_fields_of_the_options():
    keywords = {**CaptureKeywords.__annotations__, **ProfileKeywords.__annotations__}
    types = {name: value.__forward_arg__ for name, value in keywords.items()}
    assert types == {name: field.type for name, field in FIELDS.items()}
    assert "layers" not in CaptureKeywords.__annotations__


@pytest.mark.parametrize("verb", VERBS)
def test_signature_lists_every_option_with_its_default(verb):
    parameters = inspect.signature(verb).parameters
    assert {name: parameters[name].default for name in FIELDS} == {
        name: field.default for name, field in FIELDS.items()
    }
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())


@pytest.mark.parametrize("verb", VERBS)
def test_help_documents_every_parameter(verb):
    doc = inspect.getdoc(verb)
    section = doc.split("Parameters\n----------\n")[1].split("\n\n")[0]
    entries = [line.split(" :")[0].split(", ") for line in section.splitlines() if line[0] != " "]
    documented = [name for names in entries for name in names]
    assert sorted(documented) == sorted(inspect.signature(verb).parameters)
    assert "resume an interrupted capture" in section


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ("bach_size", r"{verb} has no parameter 'bach_size'; did you mean .*batch_size"),
        ("labels", r"{verb} has no parameter 'labels'; labels go with the data"),
        ("y", r"{verb} has no parameter 'y'; labels go with the data"),
        ("qqqq", r"{verb} has no parameter 'qqqq'$"),
    ],
)
def test_verbs_refuse_an_unknown_keyword(verb, keyword, message):
    with pytest.raises(TypeError, match=message.format(verb=verb.__name__)):
        verb(nn.Linear(3, 2), X, **{keyword: 1})


def test_verbs_hint_at_parameters_of_their_own():
    with pytest.raises(TypeError, match="did you mean estimators"):
        ds.profile(nn.Linear(3, 2), X, estimator=ds.TwoNN())
    with pytest.raises(TypeError, match=r"capture has no parameter 'estimators'"):
        ds.capture(nn.Linear(3, 2), X, estimators=ds.TwoNN())


@pytest.mark.parametrize("option", [{"layers": "all"}, {"seed": 0}, {"out": "s.zarr"}])
def test_profile_refuses_capture_options_with_activations(option):
    with pytest.raises(TypeError, match="already been captured"):
        ds.profile(ds.Activations({"input": np.ones((5, 2))}), **option)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": []}, ds.BadSource, "layers is empty"),
        ({"layers": iter(())}, ds.BadSource, "layers is empty"),
        ({"layers": 3}, ds.BadSource, "layers is 3; use 'checkpoints'"),
        ({"layers": ["fc", 3]}, ds.BadSource, "layers is"),
        ({"readout": "middle"}, ds.BadSource, "readout 'middle' is unknown; use 'flatten'"),
        ({"readout": ["mean"]}, ds.BadSource, "readout .* is unknown"),
        ({"n_points": 0}, ds.BadPoints, "n_points is 0; use a number of at least 1"),
        ({"per_class": True}, ds.BadPoints, "per_class is True"),
        ({"n_points": 2, "per_class": 2}, ds.BadPoints, "exclude each other"),
        ({"batch_size": 0}, ds.BadPoints, "batch_size is 0"),
        ({"batch_axis": -1}, ds.BadPoints, "batch_axis is -1; give the axis that counts"),
        ({"batch_axis": True}, ds.BadPoints, "batch_axis is True"),
        ({"batch_axis": {"x": "first"}}, ds.BadPoints, "batch_axis is .*'first'"),
        ({"memory": "4 XB"}, ValueError, "memory is '4 XB'"),
        ({"seed": 1.5}, TypeError, "integer"),
    ],
)
def test_options_refuse_wrong_values(options, error, message):
    with pytest.raises(error, match=message):
        CaptureOptions(**options)


def test_options_hold_plain_numbers():
    options = CaptureOptions(n_points=np.int64(5), seed=np.int32(3), memory="2 kB")
    assert (options.n_points, options.seed, options.memory) == (5, 3, 2000)
    assert {type(options.n_points), type(options.seed), type(options.memory)} == {int}


def test_batch_axis_holds_plain_numbers():
    assert type(CaptureOptions(batch_axis=np.int64(1)).batch_axis) is int
    assert CaptureOptions(batch_axis={"x": np.int64(1)}).batch_axis == {"x": 1}


def test_options_are_equal_and_hashed_by_their_values():
    options = CaptureOptions(["a", "b"], memory="1 kB")
    same = CaptureOptions(("a", "b"), memory=1000)
    assert options == same
    assert hash(options) == hash(same)
    assert options != CaptureOptions(["b", "a"], memory="1 kB")
    assert options != CaptureOptions(["a", "b"])


def test_plans_are_equal_and_hashed_by_their_values():
    plan = ds.Plan.of(10, 100, 2000)
    assert plan == ds.Plan.of(10, 100, 2000)
    assert len({plan, ds.Plan.of(10, 100, 2000)}) == 1
    assert plan != ds.Plan.of(10, 100, 2001)


def test_every_readout_name_has_a_function():
    assert tuple(readouts.READOUTS) == typing.get_args(ReadoutName)


def test_profile_of_activations_loads_no_torch():
    code = (
        "import dimscope as ds, numpy as np, sys;"
        "p = ds.profile(ds.Activations({'a': np.random.rand(50, 3)}), name='x', memory='1 GB');"
        "from dimscope.networks.options import CaptureOptions;"
        "print(p.name, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["x", "False"]


def test_progress_says_where_the_points_go():
    steps = []
    ds.capture(
        nn.Linear(3, 2), X, memory="200 B", batch_size=8, progress=lambda *one: steps.append(one)
    )
    assert steps == [("running the network, on disk", done, 20) for done in (8, 16, 20)]
