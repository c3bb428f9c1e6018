"""Four clouds against scale: one dimension, noise close by, a curve far off, none at all.

``python docs/runs/scales.py [OUT]`` draws ``scales.png`` and prints what each curve says.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import dimscope as ds
from dimscope.manifolds import cube, embed, gaussian, swiss_roll
from dimscope.plotting import plot_scale, save_figure


def clouds(n: int = 2000) -> dict[str, np.ndarray]:
    """Points by name, in 30 features each."""
    noise = 0.003 * np.random.default_rng(1).standard_normal((n, 30))
    roll = swiss_roll(n, 2)
    return {
        "a sheet": embed(cube(n, 2), 30),
        "a sheet in noise": embed(cube(n, 2), 30) + noise,
        "a rolled-up sheet": embed(roll / np.ptp(roll, axis=0).max(), 30),
        "a Gaussian in 30 dimensions": gaussian(n, 30),
    }


def main(out: Path) -> None:
    """The figure and the verdicts."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for ax, (name, points) in zip(axes, clouds().items(), strict=True):
        neighbors = ds.nearest_neighbors(points, 64)
        curve = ds.scale_curve(neighbors)
        plot_scale(curve, ax)
        ax.set_title(name)
        print(f"{name}, fewer points: {curve.verdict}")
        print(f"{name}, farther neighbours: {ds.rank_curve(neighbors).verdict}", flush=True)
    save_figure(axes[0], out / "scales.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
