"""Approximate neighbours: candidates from a library, exact distances, and a measured recall."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.threads import spans
from dimscope.errors import PoorRecall, warn
from dimscope.extras import needed
from dimscope.neighbors.certificate import Listed, certified_rows, measure
from dimscope.neighbors.guarantee import RTOL, Guarantee
from dimscope.neighbors.products import Centred
from dimscope.neighbors.searchers import KernelSearcher, SearchResult
from dimscope.neighbors.tiles import Tiles
from dimscope.provenance import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.exclusion import Exclusion

    Lists = tuple[NDArray[np.float32], NDArray[np.intp]]

__all__ = ["ApproximateSearcher", "faiss_lists", "pynndescent_lists", "recall"]
_CELLS, _GRAPH = ("nlist", "nprobe"), ("M", "efConstruction", "efSearch")
_WIDTH = 30  # neighbours in the lists: longer ones serve the recall and later searches
_SHORT = 0.01  # largest fraction of short lists that are filled by an exact search
_POOR = 0.9  # recall below which a warning is given
_ROWS = 4096  # rows converted at a time
_SAME = 1 + RTOL
_CELL = 39  # points in a cell below which faiss doubts its centre


def pynndescent_lists(
    vectors: NDArray[np.float32], width: int, seed: int, parameters: Mapping[str, Any]
) -> Lists:
    """List likely neighbours with pynndescent (nearest-neighbour descent).

    Parameters
    ----------
    vectors : array of shape (n, n_features), float32
    width : int
        Number of neighbours to list per point, counting the point itself.
    seed : int
    parameters : Mapping
        Keyword parameters of ``pynndescent.NNDescent``.

    Returns
    -------
    squares : array of shape (n, width)
        Squared distances, ascending.
    indices : array of shape (n, width)
        -1 where no neighbour was found.

    Raises
    ------
    MissingExtra
        If pynndescent is not installed.

    Examples
    --------
    >>> line = np.arange(100, dtype=np.float32)[:, None]
    >>> squares, indices = pynndescent_lists(line, 3, 0, {})
    >>> indices[0].tolist(), squares[0].tolist()
    ([0, 1, 2], [0.0, 1.0, 4.0])
    """
    with needed("this search"):
        from pynndescent import NNDescent
    options = {"metric": "euclidean", "n_neighbors": width, "random_state": seed, **parameters}
    with warnings.catch_warnings():
        # the caller completes lists that are not full
        warnings.filterwarnings("ignore", "Failed to correctly find n_neighbors", UserWarning)
        with _blamed_on_parameters("pynndescent", parameters):
            indices, distances = NNDescent(vectors, **options).neighbor_graph
    return distances[:, :width] ** 2, indices[:, :width].astype(np.intp)


def faiss_lists(
    method: str,
    vectors: NDArray[np.float32],
    width: int,
    seed: int,
    parameters: Mapping[str, Any],
) -> Lists:
    """List likely neighbours with faiss, by an inverted file (IVF) or an HNSW graph.

    Parameters
    ----------
    method : {"faiss-ivf", "faiss-hnsw"}
    vectors, width, seed
        As in :func:`pynndescent_lists`.
    parameters : Mapping
        ``nlist`` and ``nprobe`` for IVF; ``M``, ``efConstruction`` and ``efSearch`` for HNSW.

    Returns
    -------
    squares, indices : arrays of shape (n, width)
        As in :func:`pynndescent_lists`.

    Raises
    ------
    MissingExtra
        If faiss is not installed.
    ValueError
        If a parameter is unknown, or the library rejects its value.

    Examples
    --------
    >>> line = np.arange(100, dtype=np.float32)[:, None]
    >>> faiss_lists("faiss-ivf", line, 3, 0, {"nlist": 1})[1][0].tolist()
    [0, 1, 2]
    """
    with needed("this search"):
        import faiss
    make, names = (_cells, _CELLS) if method == "faiss-ivf" else (_graph, _GRAPH)
    unknown = set(parameters) - set(names)
    if unknown:
        raise ValueError(
            f"{method} has no parameter {', '.join(sorted(unknown))}; it has {', '.join(names)}"
        )
    with _blamed_on_parameters(method, parameters):
        index = make(faiss, vectors, seed, **parameters)
        squares, indices = index.search(vectors, width)
    return squares, indices.astype(np.intp)


def _cells(
    faiss: Any,
    vectors: NDArray[np.float32],
    seed: int,
    nlist: int | None = None,
    nprobe: int = 16,
) -> Any:
    n, n_features = vectors.shape
    if nlist is None:
        nlist = max(1, min(int(4 * np.sqrt(n)), n // _CELL))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(n_features), n_features, nlist)
    index.cp.seed = seed + 1  # zero would draw a seed
    index.train(vectors)
    index.add(vectors)
    index.nprobe = min(nprobe, nlist)
    return index


def _graph(
    faiss: Any,
    vectors: NDArray[np.float32],
    seed: int,
    M: int = 32,
    efConstruction: int = 100,
    efSearch: int = 100,
) -> Any:
    index = faiss.IndexHNSWFlat(vectors.shape[1], M)
    index.hnsw.rng = faiss.RandomGenerator(seed)
    index.hnsw.efConstruction, index.hnsw.efSearch = efConstruction, efSearch
    # threads would add the points in an order that differs between runs
    with _one_thread(faiss):
        index.add(vectors)
    return index


@contextlib.contextmanager
def _blamed_on_parameters(library: str, parameters: Mapping[str, Any]) -> Iterator[None]:
    """Turn a library's failure into an error that names the user's parameters."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        if not parameters:
            raise
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{library} rejects parameters={dict(parameters)}: {reason}") from error


@contextlib.contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class ApproximateSearcher(KernelSearcher):
    """Search with a library for approximate neighbours, and measure the recall.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct.
    method, seed, sample, parameters
        As in :class:`dimscope.Approximate`.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> points = as_points(np.arange(100.0)[:, None])
    >>> result = ApproximateSearcher(points, "faiss-ivf", parameters={"nlist": 1}).nearest(2)
    >>> result.distances[0].tolist(), str(result.guarantee)
    ([1.0, 2.0], 'approximate (faiss-ivf), recall 1.000 ± 0.013 on 100 rows')
    """

    def __init__(
        self,
        points: Points,
        method: str,
        seed: int = 0,
        sample: int = 500,
        parameters: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> None:
        self._tiles = Tiles(points, exclusion=exclusion)
        super().__init__(points, self._tiles)
        self._method, self._seed, self._sample = method, seed, sample
        self._parameters, self._progress = parameters or {}, progress

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find most of the k nearest neighbours of every point."""
        assert rows is None, (
            "an approximate search finds the neighbours of all points, never of a subset"
        )
        kernel = self._tiles
        squares, indices = self._lists(k)
        self._listed = Listed(squares, indices)
        self._tell(0.8)
        n, m = len(indices), min(k + kernel.extra, indices.shape[1])
        pairs = np.repeat(np.arange(n), m), indices[:, :m].ravel()
        measured = measure(kernel, *pairs).reshape(n, m)
        order = np.argsort(measured, axis=1, kind="stable")[:, :k]
        indices = np.take_along_axis(indices, order, axis=1)
        distances = np.sqrt(np.take_along_axis(measured, order, axis=1)) / kernel.unit
        self._tell(0.9)
        checked = np.random.default_rng(self._seed).permutation(n)[: self._sample]
        exact, *_ = certified_rows(kernel, checked, k)
        fraction, error = recall(distances[checked], np.sqrt(exact) / kernel.unit)
        if fraction < _POOR:
            warn(
                f"{self._method} found only {fraction:.0%} of the nearest neighbours, so the "
                "dimension is computed from distances that are partly too large. Give other "
                "parameters or another method, or use Sketched()",
                PoorRecall,
            )
        self._tell(1.0)
        package = "pynndescent" if self._method == "pynndescent" else "faiss-cpu"
        details = {
            "where": self._method,
            "library": f"{package} {versions(package).get(package, 'of unknown version')}",
            "recall": fraction,
            "recall_error": error,
        }
        guarantee = Guarantee.measured(self._method, fraction, error, len(checked))
        return SearchResult(distances, indices, guarantee, details)

    def _tell(self, part: float) -> None:
        if self._progress is not None:
            self._progress("searching", part, 1.0)

    def _lists(self, k: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return at least k neighbours per point; search exactly where the library finds fewer."""
        points, kernel = self._points, self._tiles
        n = points.n_points
        most = n - 1 if kernel.exclusion is None else int(kernel.exclusion.n_allowed.min())
        width = min(max(_WIDTH, k + kernel.extra), most)
        vectors = _vectors(points, kernel.unit)
        if self._method == "pynndescent":
            lists = pynndescent_lists(vectors, width + 1, self._seed, self._parameters)
        else:
            lists = faiss_lists(self._method, vectors, width + 1, self._seed, self._parameters)
        squares, indices = lists
        is_other = (indices != np.arange(n)[:, None]) & (indices >= 0)
        if kernel.exclusion is not None:
            groups = kernel.exclusion.groups
            is_other &= groups[indices] != groups[:, None]
        count = is_other.sum(axis=1)
        if (count < width).mean() > _SHORT:
            width = k
        # others first, still ascending; the point itself need not be in its own list
        order = np.argsort(~is_other, axis=1, kind="stable")[:, :width]
        squares = np.take_along_axis(squares, order, axis=1)
        indices = np.take_along_axis(indices, order, axis=1)
        short = np.flatnonzero(count < width)
        if len(short):
            squares[short], indices[short], _ = certified_rows(kernel, short, width)
        return squares, indices


def recall(distances: NDArray[np.float64], exact: NDArray[np.float64]) -> tuple[float, float]:
    """Return the fraction of true nearest neighbours that were found, and its standard error.

    Parameters
    ----------
    distances, exact : arrays of shape (m, k)
        Ascending distances, for the same rows, to the neighbours found and to the true neighbours.

    Returns
    -------
    fraction, error : float

    Notes
    -----
    A neighbour counts as found if it is no farther than the k-th true neighbour, so the choice
    among equidistant neighbours does not matter. Rows are drawn independently. Each row's fraction
    lies between 0 and 1, so its variance is at most p(1 - p), where p is the expected fraction. The
    standard error is that of a proportion after adding two successes and two failures (Agresti and
    Coull), so it is not zero even if no neighbour was missed.

    References
    ----------
    A. Agresti and B. A. Coull, "Approximate is better than 'exact' for interval estimation of
    binomial proportions", The American Statistician 52, 119 (1998).

    Examples
    --------
    >>> recall(np.array([[1.0, 2.0], [1.0, 3.0]]), np.array([[1.0, 2.0], [1.0, 2.5]]))[0]
    0.75
    """
    hits = (distances <= exact[:, -1:] * _SAME).mean(axis=1)
    m = len(hits)
    p = (float(hits.sum()) + 2) / (m + 4)
    return float(hits.mean()), math.sqrt(p * (1 - p) / (m + 4))


def _vectors(points: Points, unit: float) -> NDArray[np.float32]:
    """Return the points in float32, shifted to the origin if they are far from it."""
    vectors = np.empty((points.n_points, points.n_features), dtype=np.float32)
    centred = Centred(points, unit)
    for rows in spans(points.n_points, _ROWS):
        vectors[rows] = centred.block(rows, slice(None), vectors[rows])
    return vectors
