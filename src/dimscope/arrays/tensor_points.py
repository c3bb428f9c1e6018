"""Torch tensors: CUDA tensors are searched on their device, all others are converted to NumPy.

This module never imports torch: a user who passes a tensor has already imported it.
"""

from __future__ import annotations

import math
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from dimscope.arrays.checks import check_dtype, check_range, check_shape, check_tensor, not_finite
from dimscope.arrays.kinds import ArrayKind
from dimscope.arrays.numpy_points import NumpyPoints, checked
from dimscope.arrays.points import Home, Points
from dimscope.errors import BadPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DevicePoints",
    "TensorKind",
    "is_on_device",
    "is_tensor",
    "on_device",
    "room_on",
    "tensor_values",
]


class TensorKind(ArrayKind):
    """Torch tensors."""

    def accepts(self, array: Any) -> bool:
        """Accept tensors, if torch has been imported."""
        return is_tensor(array)

    def open(self, array: Any, memory: int | None = None) -> Points:
        """Check a tensor and wrap it."""
        return on_device(array.detach()) if is_on_device(array) else checked(tensor_values(array))

    def take(self, array: Any, rows: NDArray[np.intp]) -> Any:
        """Select the given rows."""
        return array[sys.modules["torch"].from_numpy(rows).to(array.device)]

    def home(self, array: Any) -> Home:
        """Return ``"device"`` for tensors on CUDA, ``"memory"`` for all others."""
        return "device" if is_on_device(array) else "memory"


def is_tensor(array: Any) -> bool:
    """Tell whether an array is a torch tensor; only a program that has loaded torch has any.

    Examples
    --------
    >>> is_tensor(np.eye(2))
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def is_on_device(tensor: Any) -> bool:
    """Tell whether a tensor is searched on its device (CUDA) rather than copied to the CPU.

    Only CUDA qualifies because the certified search needs float64, which other devices may lack.

    Parameters
    ----------
    tensor : torch.Tensor
    """
    return bool(tensor.device.type == "cuda")


def room_on(device: Any) -> int:
    """Return the bytes that are free on a CUDA device; 0 for other devices.

    Parameters
    ----------
    device : torch.device
    """
    if device.type != "cuda":
        return 0
    cuda = sys.modules["torch"].cuda
    kept = cuda.memory_reserved(device) - cuda.memory_allocated(device)  # for new tensors
    return int(cuda.mem_get_info(device)[0] + kept)


def tensor_values(tensor: Any) -> NDArray[Any]:
    """Return the values of a tensor as a NumPy array on the CPU, or explain why not.

    Parameters
    ----------
    tensor : torch.Tensor of any shape
        bfloat16 becomes float32, which holds its values exactly.
    """
    torch = sys.modules["torch"]
    tensor = tensor.detach()
    check_tensor(tensor, torch.strided)
    if tensor.is_floating_point() and tensor.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    ):
        tensor = tensor.float()  # exact: NumPy has no bfloat16 and nothing smaller
    try:
        array: NDArray[Any] = tensor.cpu().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise BadPoints(
            f"a {tensor.dtype} tensor on {tensor.device} has no readable values: {error}"
        ) from error
    check_dtype(array)
    return array


class DevicePoints(Points):
    """Checked points in a tensor on a device; made by :func:`on_device`.

    Parameters
    ----------
    array : tensor of shape (n, n_features)
    max_abs : float
    rows : array of int, optional
    """

    home: ClassVar[Home] = "device"
    _touched: ClassVar[int] = 1 << 60  # columns of a tensor are read without the rest of its rows

    @property
    def source_dtype(self) -> str:
        """Name of the dtype of the tensor."""
        return str(self.array.dtype)

    @property
    def tensor_dtype(self) -> Any:
        """Torch dtype of the values on the device: float32 or float64."""
        torch = sys.modules["torch"]
        is_small = self.array.dtype in (torch.float32, torch.float16, torch.bfloat16)
        return torch.float32 if is_small and self.max_abs < 1e38 else torch.float64

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the values: float32 or float64."""
        return np.dtype(str(self.tensor_dtype).removeprefix("torch."))

    def select(self, rows: NDArray[np.intp]) -> Self:
        """Return the points at the given positions, without a copy."""
        return type(self)(self.array, self.max_abs, self.rows_at(rows))

    def tensor_block(self, rows: Any, columns: slice = slice(None)) -> Any:
        """Return the given points and columns as a floating-point tensor on the device.

        A slice of rows may return a view: do not write to it.

        Parameters
        ----------
        rows : slice, array of int, or tensor of int on the device
            Positions among these points.
        columns : slice
        """
        rows = self.to_device(rows)
        if self._device_rows is not None:
            rows = self._device_rows[rows]
        return self._gather(rows, columns)

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns, and copy them to the CPU."""
        values: NDArray[Any] = self._gather(self.to_device(rows), columns).cpu().numpy()
        return values

    @cached_property
    def _device_rows(self) -> Any:
        return None if self.rows is None else self.to_device(self.rows)

    def to_device(self, numbers: Any) -> Any:
        """Copy a NumPy array to the device of the points; return anything else unchanged."""
        if not isinstance(numbers, np.ndarray):
            return numbers
        # torch refuses negative strides
        numbers = np.ascontiguousarray(numbers)
        return sys.modules["torch"].from_numpy(numbers).to(self.array.device)

    def _gather(self, rows: Any, columns: slice) -> Any:
        values = self.array[:, columns]
        values = values[rows] if isinstance(rows, slice) else values.index_select(0, rows)
        return values.to(self.tensor_dtype)

    def norms(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the Euclidean norms of a few points, found on the device."""
        values = self.tensor_block(rows).double() * self.scale
        norms: NDArray[np.float64] = values.norm(dim=1).div_(self.scale).cpu().numpy()
        return norms

    def _hash_block(
        self, rows: slice | NDArray[np.intp], columns: slice, odd: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """Hash on the device: the products and sums of int64 have the same bits."""
        torch = sys.modules["torch"]
        values = (self.tensor_block(rows, columns) + 0.0).contiguous()
        low = 2**32 - 1
        if values.element_size() == 8:
            bits = values.view(torch.int64)
            bits = bits ^ ((bits >> 32) & low)
        else:
            bits = values.view(torch.int32).to(torch.int64) & low
        sums = bits.mul_(self.to_device(odd.view(np.int64))).sum(dim=1)
        hashes: NDArray[np.uint64] = sums.cpu().numpy().view(np.uint64)
        return hashes

    def _equal_rows(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.bool_]:
        same = (self.tensor_block(i) == self.tensor_block(j)).all(dim=1)
        equal: NDArray[np.bool_] = same.cpu().numpy()
        return equal

    def in_memory(self) -> Points:
        """Copy the points to the CPU."""
        return NumpyPoints(tensor_values(self.array), self.max_abs, self.rows)


def on_device(tensor: Any) -> DevicePoints:
    """Check a tensor on its device, and wrap it.

    Parameters
    ----------
    tensor : tensor of shape (n_points, n_features)

    Raises
    ------
    BadPoints, DegeneratePoints
        As for :func:`dimscope.arrays.as_points`.
    """
    torch = sys.modules["torch"]
    check_shape(tuple(tensor.shape))
    check_tensor(tensor, torch.strided)
    if tensor.is_complex():
        check_dtype(np.empty(0, dtype=complex))
    tensor = _comparable(tensor, torch)
    least, largest = (float(value) for value in torch.stack(tensor.aminmax()).double())
    if not math.isfinite(largest - least):
        _check_finite(tensor)
    max_abs = max(largest, -least)
    check_range(max_abs, tensor.shape[1], tensor.dtype == torch.int64)
    return DevicePoints(tensor, max_abs)


def _comparable(tensor: Any, torch: Any) -> Any:
    """Convert to a dtype that preserves the values and that torch can compare and subtract."""
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
        raise not_finite(row, column, float(tensor[row, column]))
