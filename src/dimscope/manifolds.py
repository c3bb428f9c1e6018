"""Point clouds of known dimension, for documentation, tests and benchmarks.

Each sampler returns float64 points of shape (n_points, n_features). "Uniform" means uniform with
respect to the volume of the manifold.

Examples
--------
>>> sphere(5, 2, seed=0).shape
(5, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ball",
    "cube",
    "embed",
    "gaussian",
    "logistic",
    "paraboloid",
    "sphere",
    "student",
    "swiss_roll",
    "torus",
]


def cube(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw points uniformly from the unit cube [0, 1]^d.

    Examples
    --------
    >>> x = cube(100, 3)
    >>> bool(x.min() >= 0 and x.max() <= 1)
    True
    """
    return np.random.default_rng(seed).random((n_points, d))


def gaussian(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw standard normal points in d dimensions; their density is not uniform.

    Examples
    --------
    >>> gaussian(10, 4).shape
    (10, 4)
    """
    return np.random.default_rng(seed).standard_normal((n_points, d))


def logistic(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw independent logistic coordinates, with tails heavier than Gaussian ones.

    Examples
    --------
    >>> logistic(10, 4).shape
    (10, 4)
    """
    return np.random.default_rng(seed).logistic(size=(n_points, d))


def student(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw independent heavy-tailed coordinates: Student's t with 5 degrees of freedom.

    Examples
    --------
    >>> student(10, 4).shape
    (10, 4)
    """
    return np.random.default_rng(seed).standard_t(5, (n_points, d))


def ball(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw points uniformly from the unit ball in d dimensions.

    Examples
    --------
    >>> bool(np.all(np.linalg.norm(ball(100, 3), axis=1) <= 1))
    True
    """
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((n_points, d))
    radius = rng.random((n_points, 1)) ** (1 / d)
    return np.asarray(radius * direction / np.linalg.norm(direction, axis=1, keepdims=True))


def sphere(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw points uniformly from the unit sphere S^d, which is curved, in d + 1 coordinates.

    Examples
    --------
    >>> bool(np.allclose(np.linalg.norm(sphere(100, 3), axis=1), 1))
    True
    """
    x = np.random.default_rng(seed).standard_normal((n_points, d + 1))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def torus(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw points uniformly from the flat torus: d circles in 2 d coordinates, without boundary.

    Examples
    --------
    >>> torus(10, 3).shape
    (10, 6)
    """
    angle = 2 * np.pi * np.random.default_rng(seed).random((n_points, d))
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


def swiss_roll(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw points uniformly from the product of a spiral and a (d - 1)-cube, in d + 1 coordinates.

    Points on the Archimedean spiral are uniform in arc length, so the density on the rolled-up
    sheet is constant.

    Examples
    --------
    >>> swiss_roll(10, 2).shape
    (10, 3)
    """
    rng = np.random.default_rng(seed)
    grid = np.linspace(1.5 * np.pi, 4.5 * np.pi, 10_001)
    # The arc length of the spiral r = t.
    length = (grid * np.sqrt(1 + grid**2) + np.arcsinh(grid)) / 2
    t = np.interp(rng.uniform(length[0], length[-1], n_points), length, grid)
    # In each other direction the sheet is a third as wide as it is long.
    width = (length[-1] - length[0]) / 3
    return np.column_stack(
        [t * np.cos(t), t * np.sin(t), width * rng.random((n_points, max(0, d - 1)))]
    )


def paraboloid(n_points: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw points (y, |y|^2) with exponentially distributed y: curved, and far from uniform.

    Examples
    --------
    >>> paraboloid(10, 3).shape
    (10, 4)
    """
    y = np.random.default_rng(seed).exponential(size=(n_points, d))
    return np.column_stack([y, (y**2).sum(axis=1)])


def embed(points: NDArray[Any], n_features: int, seed: int = 0) -> NDArray[np.float64]:
    """Embed points in ``n_features`` dimensions by a random isometry.

    Parameters
    ----------
    points : array of shape (n_points, d)
    n_features : int
        At least d.

    Returns
    -------
    array of shape (n_points, n_features), float64
        ``points @ Q.T`` with orthonormal columns Q; distances are unchanged.

    Raises
    ------
    ValueError
        If ``n_features < d``.

    Examples
    --------
    >>> x = cube(3, 2)
    >>> y = embed(x, 50)
    >>> bool(np.isclose(np.linalg.norm(y[0] - y[1]), np.linalg.norm(x[0] - x[1])))
    True
    """
    d = points.shape[1]
    if n_features < d:
        raise ValueError(f"cannot embed {d} coordinates in {n_features}; give n_features >= {d}")
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n_features, d)))
    return np.asarray(points @ basis.T)
