"""Noise: replace the labels of some images by other labels."""

from __future__ import annotations

import torch

__all__ = ["noisy"]


def noisy(labels: torch.Tensor, share: float, seed: int, n_classes: int = 10) -> torch.Tensor:
    """Replace the labels of a share of the images, each by one of the other classes at random.

    Examples
    --------
    >>> labels = torch.arange(10).repeat(100)
    >>> int((noisy(labels, 0.2, seed=0) != labels).sum())
    200
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    changed = labels.clone()
    shift = torch.randint(1, n_classes, (len(rows),), generator=generator)
    changed[rows] = (labels[rows] + shift) % n_classes
    return changed
