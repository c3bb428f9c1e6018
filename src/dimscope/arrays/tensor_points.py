"""Points that live on a device: the certified search of a torch tensor where it lies.

The same rule as on the CPU (:mod:`dimscope.neighbors.certificate`) over a kernel written
with tensor operations. Whoever has a tensor has loaded torch, so it is looked up, never
imported here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.checks import check_range, check_shape
from dimscope.arrays.points import Points
from dimscope.errors import BadPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DevicePoints", "is_on_device"]


def is_on_device(points: Any) -> bool:
    """Whether these are a torch tensor on a CUDA device; others are copied to the CPU.

    The certificate needs float64, which not every kind of device has.

    Examples
    --------
    >>> is_on_device(np.zeros((3, 2)))
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(points, torch.Tensor) and points.device.type == "cuda"


class DevicePoints(Points):
    """Checked points in a torch tensor.

    Parameters
    ----------
    tensor : tensor of shape (n_points, n_features)
    """

    def __init__(self, tensor: Any, rows: NDArray[np.intp] | None = None) -> None:
        torch = sys.modules["torch"]
        if rows is None:
            tensor = tensor.detach()
            check_shape(tuple(tensor.shape))
            if tensor.layout != torch.strided:
                raise BadPoints(f"points are a {tensor.layout} tensor; give points.to_dense()")
            if tensor.is_complex():
                raise BadPoints(
                    "points are complex; give real and imaginary parts as separate features"
                )
            tensor = _comparable(tensor, torch)
            _check_finite(tensor)
        max_abs = float(torch.maximum(tensor.max().double(), -tensor.min().double()))
        check_range(max_abs, tensor.shape[1], tensor.dtype == torch.int64)
        super().__init__(tensor, max_abs, rows)

    @property
    def tensor_dtype(self) -> Any:
        """float32 or float64, whichever holds every value."""
        torch = sys.modules["torch"]
        small = self.array.dtype in (torch.float32, torch.float16, torch.bfloat16)
        return torch.float32 if small and self.max_abs < 1e38 else torch.float64

    @property
    def dtype(self) -> np.dtype[Any]:
        """The same as a NumPy dtype."""
        return np.dtype(str(self.tensor_dtype).removeprefix("torch."))

    def select(self, rows: NDArray[np.intp]) -> DevicePoints:
        """The points at these rows, still without a copy."""
        return DevicePoints(self.array, rows if self.rows is None else self.rows[rows])

    def on_device(self, rows: Any, columns: slice = slice(None)) -> Any:
        """Values of some rows and columns as a floating tensor."""
        if self.rows is not None:
            rows = self.rows[rows]
        if isinstance(rows, np.ndarray):
            rows = sys.modules["torch"].from_numpy(rows).to(self.array.device)
        return self.array[:, columns][rows].to(self.tensor_dtype)

    def block(
        self,
        rows: slice | NDArray[np.intp],
        columns: slice = slice(None),
        dtype: np.dtype[Any] | None = None,
    ) -> NDArray[Any]:
        """Values of some rows and columns, brought to the CPU."""
        values: NDArray[Any] = self.on_device(rows, columns).cpu().numpy()
        return values.astype(dtype or self.dtype, copy=False)


def _comparable(tensor: Any, torch: Any) -> Any:
    """The same values in a type that torch can compare and subtract."""
    if tensor.dtype in (torch.bool, torch.uint16, torch.uint32):
        return tensor.to(torch.int64)
    if tensor.dtype == torch.uint64:
        raise BadPoints("points are torch.uint64; give points.to(torch.int64)")
    if tensor.is_floating_point() and tensor.element_size() < 2:
        return tensor.float()
    return tensor


def _check_finite(tensor: Any) -> None:
    if not tensor.is_floating_point():
        return
    bad = ~tensor.isfinite().all(dim=1)
    if bool(bad.any()):
        row = int(bad.int().argmax())
        column = int((~tensor[row].isfinite()).int().argmax())
        raise BadPoints(
            f"row {row}, column {column} is {float(tensor[row, column])}; "
            "remove or replace the values that are not finite"
        )
