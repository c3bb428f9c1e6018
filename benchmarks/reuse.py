"""A profile with and without ``reused_memory``, against a bare forward pass."""

from __future__ import annotations

import sys
import warnings

import torch

import dimscope as ds
from benchmarks.profiles import batches, forward, network, profile
from benchmarks.timing import interleaved, machine, table

_NETWORK, _N, _BATCH = "ResNet-18", 256, 32


def _reused(net: torch.nn.Module, images: torch.Tensor) -> ds.Profile:
    with ds.reused_memory():
        return profile(net, images)


def run(n: int = _N) -> str:
    """Time the three in turns, each three times, and return the table."""
    warnings.simplefilter("ignore", ds.TiedPoints)
    net, images = network(_NETWORK), batches(n)
    forward(net, images[:_BATCH])  # loads what the first call loads
    median = interleaved(
        {
            "forward": lambda: forward(net, images),
            "default": lambda: profile(net, images),
            "reused": lambda: _reused(net, images),
        },
        repeats=3,
        budget=600,
    )
    return table(
        ["network", "N", "forward (s)", "profile / forward", "with reused_memory / forward"],
        [
            [
                _NETWORK,
                n,
                f"{median['forward']:.1f}",
                f"{median['default'] / median['forward']:.2f}",
                f"{median['reused'] / median['forward']:.2f}",
            ]
        ],
    )


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])), machine(), sep="\n")
