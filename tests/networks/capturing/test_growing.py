import numpy as np
import pytest
import torch

from dimscope.errors import BadPoints
from dimscope.networks.capturing.growing import GrowingArray, GrowingTensor, are_same

CPU = torch.device("cpu")


def growing(kind, n_rows, n_features=6, dtype="float32"):
    shape, dtype = (n_rows, n_features), np.dtype(dtype)
    return GrowingArray("a", shape, dtype) if kind == "array" else GrowingTensor(shape, dtype, CPU)


def blocks(dtype=torch.float32):
    values = torch.arange(120, dtype=dtype).reshape(20, 2, 3)
    return values, values.split([1, 8, 2, 9])


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("reserved", [None, 11, 20, 30])
def test_rows_are_those_written_whatever_their_shape(kind, reserved):
    values, parts = blocks(torch.bfloat16)
    rows, used = growing(kind, 1), 0
    for part in parts:
        rows.write(used, part.transpose(1, 2), len(part))
        used += len(part)
        if reserved is not None:
            rows.reserve(reserved, used)
    wanted = values.transpose(1, 2).reshape(20, 6).float()
    assert torch.equal(torch.as_tensor(rows.first(3)), wanted[:3])
    found = rows.finish(used)
    assert found.shape == (20, 6)
    assert isinstance(found, np.ndarray if kind == "array" else torch.Tensor)
    assert torch.equal(torch.as_tensor(found), wanted)


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("other", ["array", "tensor"])
def test_equal_rows_are_found_wherever_they_are(kind, other):
    values = torch.tensor([[1.0, float("nan")], [3, 4], [5, 6]])
    a, b = growing(kind, 3, 2), growing(other, 4, 2)
    a.write(0, values, 3)
    b.write(0, values[:2], 2)
    b.write(2, torch.tensor([[5.0, float("nan")]]), 1)
    assert are_same(a, b, 2)
    assert not are_same(a, b, 3)


def test_a_layer_too_large_for_the_memory_is_named():
    with pytest.raises(BadPoints, match=r"layer 'a' needs 4e\+09 GB|layer 'a' needs \d+\.\d GB"):
        growing("array", 10**12, 10**6)
