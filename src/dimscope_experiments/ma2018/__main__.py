"""The command: train the networks, measure them, and write the page."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimscope_experiments.ansuini2019.images import digits
from dimscope_experiments.ansuini2019.study import Study
from dimscope_experiments.ma2018 import SETTINGS, run, write_page


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment; runs that are already complete are read from their records."""
    parser = argparse.ArgumentParser(
        prog="python -m dimscope_experiments.ma2018",
        description="Train networks on noisy labels, and find the turn of their last hidden layer.",
    )
    parser.add_argument("--data", type=Path, help="folder with the MNIST test set")
    parser.add_argument("--out", type=Path, default=Path("ma2018"), help="folder for the results")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "dimscope",
        help="folder for unpacked data",
    )
    parser.add_argument("--scale", choices=tuple(SETTINGS), default="small")
    parser.add_argument(
        "--seed", type=int, help="run one seed only, without a page, beside other processes"
    )
    given = parser.parse_args(arguments)
    settings = SETTINGS[given.scale]
    images, labels = digits(Study(given.scale, given.out, given.cache, given.data))
    runs = [
        run(images, labels, share, seed, settings, given.out, _tell)
        for share in settings.shares
        for seed in settings.seeds
        if given.seed in (None, seed)
    ]
    if given.seed is None:
        print(f"written: {write_page(runs, settings, len(images), given.out)}")


def _tell(step: str, done: float, total: float | None) -> None:
    print(f"{step}: {done:g} of {total:g} epochs", flush=True)


if __name__ == "__main__":
    main()
