import numpy as np
import pytest
import torch

from dimscope.networks.capturing.batches import Batch
from dimscope.networks.capturing.readouts import Column


@pytest.mark.parametrize("known", [None, 7, 100])
def test_column_grows_and_keeps_its_rows(known):
    rows = torch.randn(100, 2000)
    column = Column("layer", lambda tensor, mask: tensor, n_points=known)
    for batch in rows.split(9):
        column.append(batch, Batch(batch, None, len(batch)))
    points = column.finish()
    assert points.flags.writeable
    np.testing.assert_array_equal(points, rows.numpy())
