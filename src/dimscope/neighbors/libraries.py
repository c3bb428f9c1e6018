"""Libraries of approximate search: vectors in float32 -> lists of likely neighbours."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Lists = tuple[NDArray[np.float32], NDArray[np.intp]]

__all__ = ["faiss_lists", "pynndescent_lists"]

_CELLS, _GRAPH = ("nlist", "nprobe"), ("M", "efConstruction", "efSearch")
_CELL = 39  # points of a cell below which faiss finds its centre doubtful


def pynndescent_lists(
    vectors: NDArray[np.float32], width: int, seed: int, parameters: Mapping[str, Any]
) -> Lists:
    """Lists of likely neighbours, by descent on their graph.

    Parameters
    ----------
    vectors : array of shape (n, n_features), float32
    width : int
        Length of the lists, the point itself included.
    seed : int
    parameters : Mapping
        Of ``pynndescent.NNDescent``.

    Returns
    -------
    squares : array of shape (n, width)
        Squared distances, ascending.
    indices : array of shape (n, width)
        -1 where none was found.

    Raises
    ------
    BadSource
        If pynndescent is not installed.

    Examples
    --------
    >>> line = np.arange(100, dtype=np.float32)[:, None]
    >>> squares, indices = pynndescent_lists(line, 3, 0, {})
    >>> indices[0].tolist(), squares[0].tolist()
    ([0, 1, 2], [0.0, 1.0, 4.0])
    """
    try:
        from pynndescent import NNDescent
    except ImportError as error:
        raise BadSource(_missing("pynndescent")) from error
    options = {"metric": "euclidean", "n_neighbors": width, "random_state": seed, **parameters}
    with warnings.catch_warnings():
        # lists that are not full are completed by the caller
        warnings.filterwarnings("ignore", "Failed to correctly find n_neighbors", UserWarning)
        with _told("pynndescent", parameters):
            indices, distances = NNDescent(vectors, **options).neighbor_graph
    return distances[:, :width] ** 2, indices[:, :width].astype(np.intp)


def faiss_lists(
    method: str,
    vectors: NDArray[np.float32],
    width: int,
    seed: int,
    parameters: Mapping[str, Any],
) -> Lists:
    """Lists of likely neighbours, by cells or by a navigable graph.

    Parameters
    ----------
    method : {"faiss-ivf", "faiss-hnsw"}
    vectors, width, seed
        As in :func:`pynndescent_lists`.
    parameters : Mapping
        ``nlist`` and ``nprobe``, or ``M``, ``efConstruction`` and ``efSearch``.

    Returns
    -------
    squares, indices : arrays of shape (n, width)
        As in :func:`pynndescent_lists`.

    Raises
    ------
    BadSource
        If faiss is not installed.
    ValueError
        If a parameter is unknown, or the library refuses its value.

    Examples
    --------
    >>> line = np.arange(100, dtype=np.float32)[:, None]
    >>> faiss_lists("faiss-ivf", line, 3, 0, {"nlist": 1})[1][0].tolist()
    [0, 1, 2]
    """
    try:
        import faiss
    except ImportError as error:
        raise BadSource(_missing("faiss-cpu")) from error
    make, known = (_cells, _CELLS) if method == "faiss-ivf" else (_graph, _GRAPH)
    unknown = set(parameters) - set(known)
    if unknown:
        raise ValueError(
            f"{method} has no parameter {', '.join(sorted(unknown))}; it has {', '.join(known)}"
        )
    with _told(method, parameters):
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
def _told(library: str, parameters: Mapping[str, Any]) -> Iterator[None]:
    """Say whose parameters are wrong where a library fails on them."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        if not parameters:
            raise
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{library} does not take parameters={dict(parameters)}: {reason}"
        ) from error


@contextlib.contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _missing(package: str) -> str:
    return f"this search needs {package}; run pip install 'dimscope[approximate]'"
