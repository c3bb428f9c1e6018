"""Probe: capture the same stimuli from a network again and again while its weights change.

What one capture finds out (how the data are read, where the rows lie in every layer, which layers
are selected) holds for all later ones, so that they only run the network.
"""

from __future__ import annotations

import hashlib
from typing import Any

from torch import nn

from dimscope.activations.activations import Activations
from dimscope.arrays.memory import budget_from
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.capturing.capture import Keeper
from dimscope.networks.capturing.identity import batch_sha256
from dimscope.networks.capturing.ranks import Ranks
from dimscope.networks.capturing.session import Session
from dimscope.networks.options import CaptureOptions

__all__ = ["Probe"]


class Probe:
    """A network and a fixed set of stimuli, which is read once and kept in memory.

    Parameters
    ----------
    model : torch.nn.Module
    batches : tensor, Dataset, DataLoader, iterable of batches, or path
        As for :func:`dimscope.capture`.
    options : CaptureOptions
    at_most : int, optional
        Number of stimuli to keep of data that have more; all by default.

    Raises
    ------
    BadSource, BadPoints
        As :func:`dimscope.capture`; also if ``options.out`` is given.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> probe = Probe(net, torch.rand(9, 4), CaptureOptions())
    >>> before = probe.capture()
    >>> _ = nn.init.zeros_(net[2].weight)
    >>> after = probe.capture()
    >>> (before["0"] == after["0"]).all(), (before["output"] == after["output"]).all()
    (np.True_, np.False_)
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Any,
        options: CaptureOptions,
        at_most: int | None = None,
    ) -> None:
        if options.out is not None:
            raise BadSource("a probe is captured many times, so it has no store; leave out 'out'")
        self._session = Session(model, batches, options)
        self._before = self._session.stream.drawn
        self._session.stream.hold(at_most, options.seed)
        if not self._session.stream.n_points:
            raise BadPoints("the probe holds no rows; give at least three")
        self._session.recorder.n_points = self._session.n_points
        self._budget = budget_from(options.memory)
        self._captured = False

    @property
    def n_points(self) -> int:
        """Number of stimuli."""
        return self._session.stream.n_points or 0

    @property
    def is_part(self) -> bool:
        """Whether the data hold more stimuli than the probe."""
        return self._session.stream.drawn != self._before

    def sha256(self) -> str:
        """Return the SHA-256 of all stimuli, in their order."""
        digests = [batch_sha256(batch) for batch in self._session.stream.batches]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def capture(self) -> Activations:
        """Run the network, as it is now, and return the points of the selected layers."""
        if self._captured:
            self._session.again()
        keeper = Keeper(self._session, self._budget, None, None)
        keeper.run(Ranks())
        self._captured = True
        return keeper.result()
