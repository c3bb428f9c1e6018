"""The dimension of batches as a metric of torchmetrics."""

from __future__ import annotations

from typing import Any

from dimscope.extras import needed

with needed(__name__):
    import torch
    from torch import Tensor
    from torchmetrics import Metric

    from dimscope.monitoring.loss import likelihood_of

__all__ = ["IDMetric"]


class IDMetric(Metric):  # type: ignore[misc]
    """The intrinsic dimension over batches: one likelihood for the neighbours of all of them.

    Parameters
    ----------
    k, discard
        As for :func:`id_loss`.
    **options
        As for ``torchmetrics.Metric``.

    Notes
    -----
    Neighbours are searched within a batch. The metric of one batch is :func:`id_loss` of it. Over
    several batches, and ranks, the counts and sums of the log ratios add up, so that a batch
    counts by its size.

    Examples
    --------
    >>> from dimscope.manifolds import torus
    >>> metric = IDMetric(k=5)
    >>> for seed in range(4):
    ...     metric.update(torch.tensor(torus(500, 2, seed=seed)))
    >>> round(float(metric.compute()))
    2
    """

    is_differentiable = True
    higher_is_better = None
    full_state_update = False
    count: Tensor
    total: Tensor

    def __init__(self, k: int = 2, *, discard: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.k, self.discard = k, discard
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        """Add the points of a batch, of shape (n_points, ...)."""
        count, total = likelihood_of(x, self.k, self.discard)
        self.count = self.count + count
        self.total = self.total + total

    def compute(self) -> Tensor:
        """Return the dimension; NaN before the first batch."""
        return torch.where(self.count > 0, (self.count - 1) / self.total, torch.nan)
