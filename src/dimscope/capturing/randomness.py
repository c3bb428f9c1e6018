"""Random numbers of a network while it is captured, apart from the caller's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["PrivateRandom"]


class PrivateRandom:
    """A private stream of random numbers; the caller's is untouched."""

    def __init__(self, seed: int, device: torch.device | None) -> None:
        self._devices = [device] if device is not None and device.type == "cuda" else []
        self._states: tuple[Tensor, list[Tensor]] | None = None
        self._seed = seed
        self._fork: AbstractContextManager[None] = nullcontext()

    def _read(self) -> tuple[Tensor, list[Tensor]]:
        return torch.get_rng_state(), [torch.cuda.get_rng_state(d) for d in self._devices]

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(devices=self._devices)
        self._fork.__enter__()
        if self._states is None:
            torch.default_generator.manual_seed(self._seed)
            for device in self._devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(self._seed)
            return
        torch.set_rng_state(self._states[0])
        for device, state in zip(self._devices, self._states[1], strict=True):
            torch.cuda.set_rng_state(state, device)

    def __exit__(self, *error: Any) -> None:
        self._states = self._read()
        self._fork.__exit__(None, None, None)

    def branch(self, number: int) -> None:
        """Begin another stream, with a seed of its own for each number from 1."""
        seeds = torch.Generator().manual_seed(self._seed)
        self._seed = int(torch.randint(1 << 62, (number,), generator=seeds)[-1])
        self._states = None

    def save(self) -> list[str]:
        """Where the stream stands, as text."""
        cpu, others = self._states or self._read()
        return [bytes(one.cpu().numpy()).hex() for one in (cpu, *others)]

    def load(self, states: list[str]) -> None:
        """Go on where a stream stood; inverse of :meth:`save`."""
        cpu, *others = (torch.frombuffer(bytearray.fromhex(s), dtype=torch.uint8) for s in states)
        self._states = cpu, others
