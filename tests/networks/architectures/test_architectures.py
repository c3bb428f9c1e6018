"""All layers of the architectures of the field, against hooks written by hand."""

import warnings
from functools import lru_cache

import pytest
import torch

import dimscope as ds
from dimscope.errors import DimscopeError
from networks.architectures.reference import (
    reference,
    rows_denied,
    same_units,
    signature,
    worst_row,
)
from networks.architectures.zoo import ZOO, cut

SIZES = (1, 7, 32)
SAME, ACROSS = 1e-6, 1e-4  # of the norm of a layer, at the same batch size and across sizes
ROUNDING = 0.05  # of a layer that is quantised to eight bits

pytestmark = pytest.mark.slow


@lru_cache(maxsize=1)
def network_of(name):
    return ZOO[name].build()


def orders(architecture):
    rows = torch.arange(architecture.n)
    shuffled = torch.randperm(architecture.n, generator=torch.Generator().manual_seed(2))
    return {"in order": rows, "shuffled": shuffled}


def captured(architecture, network, data, size):
    """Capture all layers as a user would; return them and the warnings."""
    handed, options = architecture.as_user(data, size)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        activations = ds.capture(network, handed, layers="all", **options)
    return activations, [str(warning.message) for warning in caught]


def is_module_name(key, names):
    """Whether a layer has the name of a module, perhaps of a later call or one of its outputs."""
    return ">" not in key and key.split("[")[0].split("#")[0] in names


def faults(architecture, network, data, size, permuted=None):
    """Return what is wrong with a capture, one line for each fault."""
    activations, messages = captured(architecture, network, data, size)
    expected = reference(architecture, network, data, size)
    lines = wrong_rows(architecture, activations)
    lines += wrong_values(activations, expected, SAME)
    lines += missing(architecture, activations, expected)
    if architecture.depends_on_batch:
        alone = reference(architecture, network, data, 1)
        lines += unwarned(messages, expected, alone) if size > 1 else []
        return lines
    lines += [f"warning: {message[:200]}" for message in messages]
    if permuted is not None:
        alone, rows = permuted
        alone = {k: None if v is None else v[rows] for k, v in alone.items()}
        lines += [f"across sizes: {line}" for line in wrong_values(activations, alone, ACROSS)]
    return lines


def wrong_rows(architecture, activations):
    """Layers with another number of rows than there are stimuli."""
    return [
        f"{name}: {len(points)} rows for {architecture.n} stimuli"
        for name, points in activations.items()
        if len(points) != architecture.n
    ]


def wrong_values(activations, expected, tolerance):
    """Captured layers that are not what the module returned."""
    lines = []
    names = {key.split("[")[0].split("#")[0] for key in expected}
    for name, points in activations.items():
        if not is_module_name(name, names):
            continue  # functions have no hooks
        if name not in expected:
            lines.append(f"{name}: captured, but not by hand")
        elif expected[name] is None:
            lines.append(f"{name}: captured, although its rows are not stimuli")
        elif not (error := worst_row(points, expected[name])) <= tolerance:
            lines.append(f"{name}: differs by {error:.1e}{_hint(points, expected[name])}")
    return lines


def _hint(points, rows):
    if points.shape != rows.shape:
        return f", {points.shape} instead of {tuple(rows.shape)}"
    permuted = same_units(signature(points), signature(rows))
    return ", the same units in another order" if permuted else ""


def missing(architecture, activations, expected):
    """Layers that are neither captured nor refused, under their own name or that of an equal."""
    lines = [
        f"{name}: refused without a sentence: {reason!r}"
        for name, reason in activations.failures.items()
        if len(reason.split()) < 4
    ]
    kept = [signature(points) for points in activations.values()]
    kept += [
        signature(expected[name]) for name in activations.failures if expected.get(name) is not None
    ]
    for name, rows in expected.items():
        if name in activations or name in activations.failures or rows is None:
            continue
        rounded = architecture.rounds.get(name)
        if rounded in activations and worst_row(activations[rounded], rows) < ROUNDING:
            continue
        marks = signature(rows)
        if not any(same_units(points, marks) for points in kept):
            lines.append(f"{name}: neither captured nor refused")
    return lines


def unwarned(messages, expected, alone):
    """Say so if no warning names a layer whose values depend on the batch."""
    differ = [
        name
        for name, rows in expected.items()
        if rows is not None and worst_row(rows, alone[name]) > ACROSS
    ]
    assert differ
    if any(repr(name) in message for message in messages for name in differ):
        return []
    return [f"no warning names one of {', '.join(differ)}: {messages}"]


@pytest.mark.parametrize("name", ZOO)
def test_capture_equals_hooks_by_hand(name):
    architecture = ZOO[name]
    network, data = network_of(name), architecture.stimuli()
    alone = reference(architecture, network, data, 1)
    lines = []
    for size in SIZES:
        for order, rows in orders(architecture).items():
            permuted = cut(data, rows, architecture.batch_axis)
            try:
                found = faults(architecture, network, permuted, size, (alone, rows))
            except DimscopeError as error:
                found = [f"refused: {error}"]
            lines += [f"batch size {size}, {order}: {line}" for line in found]
    assert not lines, "\n" + "\n".join(lines)


@pytest.mark.parametrize("name", [name for name in ZOO if ZOO[name].depends_on_batch])
def test_layers_that_depend_on_the_batch_are_named_in_any_order(name):
    architecture = ZOO[name]
    network, data = network_of(name), architecture.stimuli()
    lines = []
    for seed in range(12):
        rows = torch.randperm(architecture.n, generator=torch.Generator().manual_seed(seed))
        permuted = cut(data, rows)
        _, messages = captured(architecture, network, permuted, 7)
        together, alone = (reference(architecture, network, permuted, size) for size in (7, 1))
        lines += [f"order {seed}: {line}" for line in unwarned(messages, together, alone)]
    assert not lines, "\n" + "\n".join(lines)


@pytest.mark.parametrize("name", [name for name in ZOO if not ZOO[name].depends_on_batch])
def test_rows_by_hand_do_not_depend_on_the_batch(name):
    """The examination is right about the axes: a stimulus alone has the same row."""
    architecture = ZOO[name]
    network, data = network_of(name), architecture.stimuli()
    alone = reference(architecture, network, data, 1)
    for size in SIZES[1:]:
        together = reference(architecture, network, data, size)
        assert [*alone] == [*together] or name == "detector"
        for key in alone.keys() & together.keys():
            assert (alone[key] is None) == (together[key] is None)
            if alone[key] is not None:
                assert worst_row(together[key], alone[key]) <= ACROSS, key


@pytest.mark.parametrize("name", [name for name in ZOO if None in dict(ZOO[name].axes).values()])
def test_tensors_without_rows_have_none_by_hand(name):
    """The examination refuses no layer that has rows."""
    architecture = ZOO[name]
    assert not rows_denied(architecture, network_of(name), architecture.stimuli(), 7)


def test_the_zoo_holds_sixty_architectures():
    paper = [name for name in ZOO if name.startswith(("alexnet", "vgg", "resnet"))]
    counts = [
        sum(name.startswith(f"{library} ") for name in ZOO) for library in ("timm", "transformers")
    ]
    assert len(paper) == 14
    assert min(counts) >= 15
    assert len(ZOO) >= 60


def test_worst_row_finds_one_wrong_row():
    right = torch.randn(100, 5)
    wrong = right.clone()
    wrong[17, 0] += 1e-2
    assert worst_row(right, right) == 0
    assert 1e-3 < worst_row(wrong, right) < 1e-1
    assert worst_row(right[:50], right) == float("inf")
