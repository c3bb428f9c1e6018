"""Rows of a batch, with all that belongs to them."""

import numpy as np
import pytest
import torch

from dimscope.networks.data.batches import Batch, InputRows

X = torch.arange(40.0).reshape(20, 2)
Y = torch.arange(20) % 4


def test_take_returns_rows_of_everything_that_belongs_to_them():
    batch = Batch(
        {"x": X, "words": [f"w{i}" for i in range(20)], "scale": torch.tensor(2.0), "flag": True},
        Y.numpy(), 20, {"mask": X > 3}, np.arange(20) + 5,
    )  # fmt: skip
    taken = batch.take(np.array([4, 0, 4]))
    assert taken.n_rows == 3
    torch.testing.assert_close(taken.inputs["x"], X[[4, 0, 4]])
    assert taken.inputs["words"] == ["w4", "w0", "w4"]
    assert taken.inputs["scale"] == 2
    assert taken.inputs["flag"] is True
    assert taken.labels.tolist() == [0, 0, 0]
    assert taken.ids.tolist() == [9, 5, 9]
    assert torch.equal(taken.masks["mask"], (X > 3)[[4, 0, 4]])
    taken.inputs["x"].zero_()
    assert X[4].sum() > 0  # a copy


def test_take_follows_the_axis_of_rows():
    state = (torch.randn(2, 20, 3), torch.randn(2, 20, 3))
    batch = Batch((torch.randn(5, 20, 4), state, Y), None, 20, layout=InputRows(1, ("x", "h", "n")))
    x, (hidden, cell), lengths = batch.take(np.array([3, 1])).inputs
    torch.testing.assert_close(x, batch.inputs[0][:, [3, 1]])
    torch.testing.assert_close(hidden, state[0][:, [3, 1]])
    torch.testing.assert_close(cell, state[1][:, [3, 1]])
    assert lengths.tolist() == [3, 1]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_take_of_nested_tensors():
    parts = [X[:i] for i in (2, 3, 4)]
    for layout in (torch.jagged, torch.strided):
        nested = torch.nested.nested_tensor(parts, layout=layout)
        taken = Batch(nested, None, 3).take(np.array([2, 0]))
        for found, wanted in zip(taken.inputs.unbind(), (parts[2], parts[0]), strict=True):
            torch.testing.assert_close(found, wanted)
