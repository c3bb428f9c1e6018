"""Readouts, against values by hand: padding is never part of a point."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from dimscope.errors import BadPoints
from dimscope.networks.capturing.capture import capture
from dimscope.networks.capturing.readouts import READOUTS, Column, as_readout
from dimscope.networks.capturing.rows import Layout
from dimscope.networks.data.batches import Batch

T = True
F = False
# Two stimuli of three tokens, of two units.
TOKENS = torch.tensor([[[1.0, 8], [3, -4], [5, 7]], [[-2, 6], [0, -1], [9, 2]]])
RIGHT = torch.tensor([[T, T, F], [T, F, F]])
LEFT = torch.tensor([[F, T, T], [F, F, T]])
INNER = torch.tensor([[T, F, T], [F, T, F]])


def points(tensor, readout, mask=None, layout=None):
    """The points of a tensor and the reason why there are none."""
    masks = {} if mask is None else {"mask": mask}
    layout = layout or Layout(mask=None if mask is None else "mask")
    column = Column("layer", as_readout(readout), layout)
    column.append(tensor, Batch(None, None, 2, masks))
    return column.reason or column.finish().tolist()


@pytest.mark.parametrize(
    ("readout", "mask", "wanted"),
    [
        ("mean", None, [[3, 11 / 3], [7 / 3, 7 / 3]]),
        ("mean", RIGHT, [[2, 2], [-2, 6]]),
        ("mean", LEFT, [[4, 1.5], [9, 2]]),
        ("mean", INNER, [[3, 7.5], [0, -1]]),
        ("max", None, [[5, 8], [9, 6]]),
        ("max", RIGHT, [[3, 8], [-2, 6]]),
        ("max", LEFT, [[5, 7], [9, 2]]),
        ("max", INNER, [[5, 8], [0, -1]]),
        ("first", None, [[1, 8], [-2, 6]]),
        ("first", RIGHT, [[1, 8], [-2, 6]]),
        ("first", LEFT, [[3, -4], [9, 2]]),
        ("first", INNER, [[1, 8], [0, -1]]),
        ("last", None, [[5, 7], [9, 2]]),
        ("last", RIGHT, [[3, -4], [-2, 6]]),
        ("last", LEFT, [[5, 7], [9, 2]]),
        ("last", INNER, [[5, 7], [0, -1]]),
        ("tokens", None, [[1, 8], [3, -4], [5, 7], [-2, 6], [0, -1], [9, 2]]),
        ("tokens", RIGHT, [[1, 8], [3, -4], [-2, 6]]),
        ("tokens", LEFT, [[3, -4], [5, 7], [9, 2]]),
        ("tokens", INNER, [[1, 8], [5, 7], [0, -1]]),
        ("flatten", None, [[1, 8, 3, -4, 5, 7], [-2, 6, 0, -1, 9, 2]]),
    ],
)
def test_points_are_those_by_hand(readout, mask, wanted):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        found = points(TOKENS.to(dtype), readout, mask)
        np.testing.assert_allclose(found, wanted, rtol=torch.finfo(dtype).eps)
    if mask is not None:  # whatever padding holds
        for value in (torch.nan, torch.inf, 1e30):
            soiled = torch.where(mask[..., None], TOKENS, value)
            assert points(soiled, readout, mask) == points(TOKENS, readout, mask)


@pytest.mark.parametrize("readout", ["mean", "max", "first", "last", "tokens"])
@pytest.mark.parametrize("mask", [RIGHT, LEFT, INNER])
def test_axes_of_stimuli_and_tokens_are_those_of_the_layout(readout, mask):
    wanted = points(TOKENS, readout, mask)
    sequence_first = Layout(axis=1, mask="mask", tokens=1)
    assert points(TOKENS.transpose(0, 1), readout, mask, sequence_first) == wanted
    channels_first = Layout(mask="mask", tokens=2)
    assert points(TOKENS.transpose(1, 2), readout, mask, channels_first) == wanted


def test_heads_are_kept_apart_in_the_mean_over_tokens():
    heads = torch.stack([TOKENS, 10 * TOKENS], dim=1)  # (stimuli, heads, tokens, units)
    found = points(heads, "mean", RIGHT, Layout(mask="mask", tokens=2))
    assert found == [[2, 2, 20, 20], [-2, 6, -20, 60]]


def test_mean_of_half_precision_is_summed_in_single():
    long = torch.full((2, 4096, 1), 300.0, dtype=torch.float16)
    mask = torch.ones(2, 4096, dtype=torch.bool)
    mask[:, -1] = False
    assert points(long, "mean", mask) == [[300.0], [300.0]]


def test_a_mask_of_real_tokens_changes_nothing():
    everything = torch.ones(2, 3, dtype=torch.bool)
    for readout in READOUTS:
        assert points(TOKENS, readout, everything) == points(TOKENS, readout)


@pytest.mark.parametrize(
    ("readout", "reason"),
    [
        ("flatten", "texts of unequal length have points of unequal length; use readout 'mean'"),
        (lambda t: t.sum(1), "give the function a second parameter, the mask"),
        (lambda t, mask: t.sum((1, 2))[:1], r"returned \(1,\), not one row for each stimulus"),
        (lambda t, mask: t.nothing, "the readout failed on shape"),
    ],
)
def test_padding_is_refused_by_readouts_that_would_include_it(readout, reason):
    assert re.search(reason, points(TOKENS, readout, RIGHT))


def test_a_function_takes_the_mask():
    def total(tensor, mask):
        return (tensor * mask[..., None]).sum(1)

    assert points(TOKENS, total, RIGHT) == [[4, 4], [-2, 6]]
    assert points(TOKENS[:, 0], lambda tensor, mask: tensor * (mask is None)) == [[1, 8], [-2, 6]]
    assert points(TOKENS, lambda t, scale=2: scale * t[:, 0], ~RIGHT | RIGHT) == [[2, 16], [-4, 12]]


def test_other_numbers_of_positions_than_the_mask_has_are_refused():
    assert "it has 2 positions, but the mask has 3" in points(TOKENS[:, :2], "mean", RIGHT)


def test_a_problem_with_padding_matters_where_there_is_padding():
    layout = Layout(problem="it leaks")
    assert "padding cannot be left out of its points: it leaks" in points(
        TOKENS, "mean", RIGHT, layout
    )
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert points(TOKENS, "last", everything, layout) == [[5, 7], [9, 2]]


# Tokens as points ----------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.top = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x, attention_mask=None):
        return self.top(self.hidden(x).relu())


X = torch.randn(9, 5, 3, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([5, 2, 3, 1, 5, 4, 2, 2, 3])
REAL = torch.arange(5) < LENGTHS[:, None]
Y = np.array(["b", "a", "c", "c", "a", "b", "b", "a", "c"])


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_tokens_repeat_labels_and_ids(tmp_path, batch_size):
    data = {"x": X, "attention_mask": REAL.long(), "labels": Y.tolist()}
    given = {"readout": "tokens", "batch_size": batch_size, "ids": np.arange(9) + 100}
    found = capture(Tagger(), data, **given)
    with torch.no_grad():
        wanted = Tagger()(X)[REAL]
    np.testing.assert_allclose(found["output"], wanted, atol=1e-6)
    np.testing.assert_array_equal(found["input"], X[REAL])
    np.testing.assert_array_equal(found.labels, np.repeat(Y, LENGTHS))
    np.testing.assert_array_equal(found.ids, np.repeat(np.arange(9) + 100, LENGTHS))
    stored = capture(Tagger(), data, out=tmp_path / "s.zarr", **given)
    np.testing.assert_array_equal(stored["output"], found["output"])
    np.testing.assert_array_equal(stored.labels, found.labels)


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_tokens_without_a_mask_are_all_of_them(batch_size):
    found = capture(Tagger(), (X, Y.tolist()), readout="tokens", batch_size=batch_size)
    np.testing.assert_array_equal(found["input"], X.reshape(45, 3))
    np.testing.assert_array_equal(found.labels, np.repeat(Y, 5))


def test_tokens_of_a_layer_without_tokens_are_refused_by_name():
    class Pooled(Tagger):
        def forward(self, x):
            return self.top(self.hidden(x).relu().mean(1))

    found = capture(Pooled(), X, readout="tokens")
    assert list(found) == ["input", "hidden"]
    assert "no axis of tokens" in found.failures["output"]


def test_a_mask_of_rows_serves_a_network_without_one():
    class Plain(Tagger):
        def forward(self, x):
            return super().forward(x)

    wanted = capture(Tagger(), {"x": X, "attention_mask": REAL}, readout="last", batch_size=4)
    found = capture(Plain(), X, readout="last", batch_size=4, mask=REAL)
    np.testing.assert_array_equal(found["output"], wanted["output"])
    np.testing.assert_array_equal(found["input"], X[torch.arange(9), LENGTHS - 1])


# The array of a column -------------------------------------------------------------------------


@pytest.mark.parametrize("known", [None, 7, 100])
def test_column_grows_and_keeps_its_rows(known):
    rows = torch.randn(100, 2000)
    column = Column("layer", lambda tensor, mask: tensor, n_points=known)
    for batch in rows.split(9):
        column.append(batch, Batch(batch, None, len(batch)))
    found = column.finish()
    assert found.flags.writeable
    np.testing.assert_array_equal(found, rows.numpy())


def test_a_layer_that_fails_everywhere_says_why():
    with pytest.raises(BadPoints, match="none of the 1 selected layers has points; 'output': its"):
        capture(nn.Flatten(), torch.zeros(4, 3, dtype=torch.long), "output")
