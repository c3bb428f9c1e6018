"""Measure the share of a profile's time that its first runs, on a few stimuli, take."""

from __future__ import annotations

import sys
import time
import warnings

import dimscope as ds
from benchmarks.profiles import batches, network
from benchmarks.timing import machine, table
from dimscope.networks.capturing.session import Session

_NETWORK, _N = "ResNet-18", 500


def run(n: int = _N) -> str:
    """Return the processor time of the checks and of the whole profile, the median of three."""
    warnings.simplefilter("ignore", ds.TiedPoints)
    net, images = network(_NETWORK), batches(n)
    examine = Session.examine
    checks: list[float] = []

    def timed(session: Session) -> None:
        start = time.process_time()
        examine(session)
        checks.append(time.process_time() - start)

    Session.examine = timed  # type: ignore[method-assign]
    rows = []
    try:
        for _ in range(3):
            checks.clear()
            start = time.process_time()
            ds.profile(net, images)
            total = time.process_time() - start
            rows.append((sum(checks) / total, sum(checks), total))
    finally:
        Session.examine = examine  # type: ignore[method-assign]
    share, spent, total = sorted(rows)[1]
    return table(
        ["network", "N", "checks (s)", "profile (s)", "share"],
        [[_NETWORK, n, f"{spent:.2f}", f"{total:.1f}", f"{100 * share:.1f} %"]],
    )


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])), machine(), sep="\n")
