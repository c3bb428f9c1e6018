"""The dimension of a batch as a differentiable number: a term of the loss."""

from __future__ import annotations

import math

from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.extras import needed

with needed(__name__):
    import torch
    from torch import Tensor

__all__ = ["id_loss", "likelihood_of"]

_SPARE = 8  # candidates beyond the k nearest, for the rounding of products


def id_loss(x: Tensor, k: int = 2, *, discard: float | None = None) -> Tensor:
    """Estimate the intrinsic dimension of a batch, differentiably.

    Parameters
    ----------
    x : tensor of shape (n_points, ...)
        One point for each stimulus of the batch; further axes are flattened. Half precisions are
        computed in float32.
    k : int
        Number of neighbours: 2 for :class:`~dimscope.TwoNN`, more for the likelihood of
        :class:`~dimscope.MLE`, which varies less from batch to batch.
    discard : float, optional
        Fraction of the largest ratios to censor, only with ``k=2``; that of ``TwoNN()``, 0.1, by
        default.

    Returns
    -------
    Tensor
        A scalar, at least in float32. Add it to the loss with a weight, or use
        ``(id_loss(x) - target).square()``.

    Raises
    ------
    BadPoints
        If there are too few points, or the tensor is not of floating-point numbers.
    DegeneratePoints
        If the batch has no dimension: too few distinct points, or all neighbours tie.
    ValueError
        If ``k`` or ``discard`` is out of range.

    Notes
    -----
    The value is that of the estimators of dimscope, for the same points. The neighbours count as
    fixed in the derivative; where two neighbours change places, the value is continuous and the
    derivative jumps. Rows that repeat others are left out.

    With ``k=2``, descent lowers the value also by pulling single pairs of points together; the
    likelihood of ten neighbours or more has to change the cloud.

    The dimension of a batch is that at the scale of its neighbours: with fewer points, the
    neighbours are farther away, and a curved or high-dimensional cloud gives another value.
    Compare batches of the same size.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import torus
    >>> x = torch.tensor(torus(500, 2), requires_grad=True)
    >>> dimension = id_loss(x)
    >>> dimension.backward()
    >>> round(dimension.item() - float(ds.TwoNN()(x.detach())), 9), x.grad.shape
    (0.0, torch.Size([500, 4]))
    >>> round(id_loss(x, k=10).item() - float(ds.MLE(10)(x.detach())), 9)
    0.0
    """
    count, total = likelihood_of(x, k, discard)
    return (count - 1) / total


def likelihood_of(x: Tensor, k: int, discard: float | None) -> tuple[int, Tensor]:
    """Return the number of observed log ratios, and their sum, of which the dimension is a ratio.

    The dimension is (count - 1) / sum. Counts and sums of several batches add up.
    """
    _check_options(k, discard)
    if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point():
        what = f"shape {tuple(x.shape)} and {x.dtype}" if isinstance(x, Tensor) else type(x)
        raise BadPoints(
            f"the points are of {what}; give a floating-point tensor of shape (n_points, ...)"
        )
    with torch.autocast(x.device.type, enabled=False):
        points = x.flatten(1)
        points = points.float() if points.dtype in (torch.float16, torch.bfloat16) else points
        logs = _log_distances(points, k)
        ratios = (logs[:, -1:] - logs[:, :-1]).sum(dim=1)
        if discard is None:
            discard = 0.1 if k == 2 else 0.0
        kept = math.floor((1 - discard) * len(ratios) + 1e-9)
        if kept < len(ratios):  # type-II censoring
            smallest = ratios.sort().values[:kept]
            total = smallest.sum() + (len(ratios) - kept) * smallest[-1]
        else:
            total = ratios.sum()
        if not total > 0:
            raise DegeneratePoints(
                f"the {k} neighbours of the points are all at the same distance, so the batch has "
                "no dimension"
            )
        return kept * (k - 1), total


def _check_options(k: int, discard: float | None) -> None:
    if k < 2:
        raise ValueError(f"k is {k}; at least 2 neighbours are needed")
    if discard is not None and k > 2:
        raise ValueError("discard applies to k=2 only; leave it out")
    if discard is not None and not 0 <= discard < 1:
        raise ValueError(f"discard is {discard}; use a fraction from 0 to below 1")


def _log_distances(points: Tensor, k: int) -> Tensor:
    """Return the logarithms of the distances of each point to its k nearest, ascending."""
    neighbors, repeats = _nearest(points.detach(), k)
    if repeats:
        distinct = _first_of_equal(points.detach())
        if len(distinct) <= k:
            raise DegeneratePoints(
                f"only {len(distinct)} of {len(points)} points are distinct, so that they have "
                f"fewer than {k} neighbours"
            )
        points = points[distinct]
        neighbors, _ = _nearest(points.detach(), k)
    return _distances(points, neighbors).log()


@torch.no_grad()
def _nearest(points: Tensor, k: int) -> tuple[Tensor, bool]:
    """Return the positions of the k nearest of each point, and whether points repeat."""
    if not torch.isfinite(points).all():
        raise BadPoints("the points hold NaN or infinity")
    if len(points) <= k:
        raise BadPoints(f"{len(points)} points have fewer than {k} neighbours; use a larger batch")
    centred = points - points.mean(dim=0)
    rough = torch.cdist(centred, centred)
    rough.fill_diagonal_(math.inf)
    n_candidates = min(k + _SPARE, len(points) - 1)
    candidates = rough.topk(n_candidates, largest=False).indices
    # products find the candidates, direct differences decide
    nearest, order = _distances(points, candidates).sort(dim=1)
    return candidates.gather(1, order[:, :k]), bool((nearest[:, 0] == 0).any())


def _distances(points: Tensor, neighbors: Tensor) -> Tensor:
    """Return the distances of each point to some others, of shape (n_points, n_neighbors)."""
    columns = [torch.linalg.vector_norm(points - points[column], dim=1) for column in neighbors.T]
    return torch.stack(columns, dim=1)


def _first_of_equal(points: Tensor) -> Tensor:
    """Return the positions of the first of each set of equal rows, ascending."""
    _, group = torch.unique(points, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(points), device=points.device)
    places = torch.arange(len(points), device=points.device)
    first.scatter_reduce_(0, group, places, "amin")
    return first.sort().values
