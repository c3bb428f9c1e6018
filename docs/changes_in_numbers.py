"""Measure the change of rows in ``changes-in-numbers.md``: ``python docs/changes_in_numbers.py``.

The rows that version 1 took are taken by hand: the entries of the first axis, which is as long as
the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import dimscope as ds

N, STEPS, CHANNELS = 640, 32, 8


class Encoder(nn.Module):
    """Take sequences of shape (n, steps, channels), and run them time first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(CHANNELS, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the head of the last state."""
        states, _ = self.rnn(x.transpose(0, 1))
        return self.head(states[-1])


def rows() -> tuple[float, float]:
    """Return the dimension of the states now, and with the rows of version 1."""
    torch.manual_seed(0)
    network = Encoder().eval()
    # sequences that vary with two parameters
    x = (torch.rand(N, 2) @ torch.randn(2, STEPS * CHANNELS)).sin().reshape(N, STEPS, CHANNELS)
    now = ds.capture(network, x, ["rnn"], batch_size=STEPS)["rnn"]
    with torch.no_grad():
        states = [network.rnn(part.transpose(0, 1))[0] for part in x.split(STEPS)]
    before = torch.cat(states).flatten(1).numpy()
    return float(ds.TwoNN()(now)), float(ds.TwoNN()(before))


if __name__ == "__main__":
    now, before = rows()
    print(f"{now:.1f} instead of {before:.1f}")
