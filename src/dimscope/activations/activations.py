"""Activations: one array of points for every layer of a network, with aligned rows.

:func:`dimscope.capture` returns this class, and the estimators take it. It does not load torch, so
it can also hold activations recorded elsewhere, for example in another framework or in a brain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from dimscope.errors import BadPoints
from dimscope.html import table
from dimscope.provenance import Provenance
from dimscope.values import by_value

__all__ = ["ROLES", "Activations", "Layer", "Role"]


Role = Literal["input", "hidden", "last_hidden", "output"]


ROLES: tuple[Role, ...] = get_args(Role)


@by_value
@dataclass(frozen=True, eq=False)
class Layer:
    """Description of a layer, without its points.

    Parameters
    ----------
    name : str
        ``"input"``, ``"output"``, or the name of the module or operation that produced the points.
    role : {"input", "hidden", "last_hidden", "output"}
        Role of the layer in the network.
    depth : int
        Number of convolutional and linear layers on the longest path from the input (for
        transformers, the number of blocks).
    relative_depth : float
        ``depth`` divided by the depth of the output, between 0 and 1.
    n_features : int
        Number of units, the embedding dimension (ED); 0 if the layer could not be captured.

    Raises
    ------
    ValueError
        If ``role`` is not one of these.
    """

    name: str
    role: Role = "hidden"
    depth: int = 0
    relative_depth: float = 0.0
    n_features: int = 0

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(
                f"the role of layer {self.name!r} is {self.role!r}; use one of {', '.join(ROLES)}"
            )


@by_value
@dataclass(frozen=True, eq=False)
class Activations(Mapping[str, np.ndarray[Any, Any]]):
    """The points of every captured layer.

    A mapping ``layer name -> points``, where the points have shape (n_points, n_features). Row *i*
    of every layer belongs to the same stimulus.

    Parameters
    ----------
    points : Mapping of str to array
        Layer name -> points, in order of depth.
    layers : tuple of Layer
        Descriptions of all layers in ``points`` and ``failures``, in order of depth.
    labels : array of shape (n_points,), optional
        Class of each row.
    class_names : tuple of str, optional
        Names of classes 0, 1, ...
    failures : Mapping of str to str
        Layer name -> the reason why the layer could not be captured.
    name : str
        Name of the network.
    ids : array of shape (n_points,), optional
        A whole number or a word for each row, which says which stimulus it is. Estimates of
        activations with equal ids can be compared (:func:`dimscope.difference`), whatever the
        networks and their inputs. Without ids, the values of the first layer identify the stimuli.

    Raises
    ------
    BadPoints
        If the layers and labels differ in their number of rows, or the labels are not valid
        classes.

    Examples
    --------
    >>> a = Activations({"input": np.zeros((5, 3)), "output": np.zeros((5, 2))})
    >>> a.n_points, [layer.n_features for layer in a.layers]
    (5, [3, 2])
    """

    points: Mapping[str, np.ndarray[Any, Any]]
    layers: tuple[Layer, ...] = ()
    labels: np.ndarray[Any, Any] | None = None
    class_names: tuple[str, ...] | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    provenance: Provenance = field(default_factory=lambda: Provenance("activations"))
    ids: np.ndarray[Any, Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        n_rows = {name: len(array) for name, array in self.points.items()}
        if self.labels is not None:
            n_rows["labels"] = len(self.labels)
        if self.ids is not None:
            object.__setattr__(self, "ids", _one_for_each_row("ids", self.ids, "iuU"))
            n_rows["ids"] = len(self.ids)
        if len(set(n_rows.values())) > 1:
            raise BadPoints(
                "layers and labels must have one row for each stimulus, but the numbers of rows "
                "are " + ", ".join(f"{name}: {n}" for name, n in n_rows.items())
            )
        if not self.layers:
            layers = tuple(
                Layer(name, n_features=int(array.shape[1])) for name, array in self.points.items()
            )
            object.__setattr__(self, "layers", layers)
        self._check_classes()
        layer_names = {layer.name for layer in self.layers}
        if layer_names != {*self.points, *self.failures}:
            raise ValueError(
                f"the argument layers describes {sorted(layer_names)}, but points and failures "
                f"hold {sorted({*self.points, *self.failures})}; give exactly one "
                "Layer for each name in points and failures"
            )

    def _check_classes(self) -> None:
        if self.labels is None:
            return
        labels = _one_for_each_row("labels", self.labels, "iubU")
        object.__setattr__(self, "labels", labels)
        if self.class_names is None or not len(labels):
            return
        n_classes = len(self.class_names)
        classes = np.unique(labels)
        if labels.dtype.kind == "U" or not 0 <= classes[0] <= classes[-1] < n_classes:
            raise BadPoints(
                f"class_names names classes 0 to {n_classes - 1}, but the labels include "
                f"{classes[0]} and {classes[-1]}; leave class_names out"
            )

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        if name in self.failures:
            raise KeyError(f"layer {name!r} was not captured: {self.failures[name]}")
        if name not in self.points:
            raise KeyError(f"there is no layer {name!r}; the layers are {', '.join(self.points)}")
        return self.points[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def n_points(self) -> int:
        """Number of rows in every layer."""
        return next((len(array) for array in self.points.values()), 0)

    @property
    def nbytes(self) -> int:
        """Size of the points in bytes."""
        return sum(array.nbytes for array in self.points.values())

    def _repr_html_(self) -> str:
        caption = repr(self)
        if self.labels is not None:
            caption += f", {len(np.unique(self.labels))} classes"
        rows = [
            (
                *(layer.name, layer.role, layer.depth, layer.n_features),
                # a stored layer is not read
                f"not captured: {self.failures[layer.name]}"
                if layer.name in self.failures
                else self.points[layer.name].dtype,
            )
            for layer in self.layers
        ]
        return table(("layer", "role", "depth", "features", "values"), rows, caption)

    def __repr__(self) -> str:
        size = self.nbytes / 1e6
        return f"Activations({self.name!r}, {len(self)} layers, n={self.n_points}, {size:.0f} MB)"


def _one_for_each_row(name: str, values: Any, kinds: str) -> np.ndarray[Any, Any]:
    """Convert labels or ids to a flat array of integers or strings, or explain why not."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in kinds:
        raise BadPoints(
            f"{name} must hold one integer or string for each row, but have dtype {array.dtype} "
            f"and shape {array.shape}"
        )
    return array
