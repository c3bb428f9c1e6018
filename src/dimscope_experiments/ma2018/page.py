"""Page: write a page with the verdict, a table of the runs and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dimscope.files import write_beside
from dimscope_experiments.ma2018.rules import RISE, WINDOW
from dimscope_experiments.ma2018.run import Run, Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["verdict", "write_page"]


_PAGE = """\
# Noisy labels, and the turn of the last hidden layer

X. Ma et al., *Dimensionality-driven learning with noisy labels* (ICML 2018), report that the
local dimension of the last hidden layer falls while a network learns, and rises once it memorises
wrong labels. The turn from falling to rising would then show when to stop training, without clean
data.

**{verdict}.** With wrong labels, a run counts as reproduced if the turn is at most two epochs
from the epoch with the best accuracy on clean test images. Without wrong labels, it counts if
there is no turn. Of the runs without wrong labels, {clean} had a turn.

`python -m dimscope_experiments.ma2018 --data FOLDER --out docs/ma2018` makes this page. FOLDER
contains the MNIST test set.

The network has two convolutions and a hidden layer of 128 units. It is trained on {n_training}
images of the MNIST test set, and tested on the {settings.held_out} others. The runs differ in the
share of training labels that are replaced by other classes: {shares}. Training takes
{settings.epochs} epochs of gradient descent with learning rate {settings.learning_rate:g},
momentum 0.9 and batches of 128. The paper used 60,000 images and a decreasing learning rate. The
learning rate was chosen by training networks with another seed and 40% wrong labels, and
comparing only their accuracies. The rules were fixed before the runs.

The last columns of the table, except "as stated", give the epoch of the turn by four rules:

- *batches*: the rule of the paper. After every epoch, MLE with k = 20 measures {settings.batches}
  batches of 128 newly drawn training images. The turn is the epoch before the first one whose
  value exceeds the mean of the {window} preceding values by more than two of their standard
  deviations.
- *MLE(20)*, *TwoNN()*: the same rule for `ds.MLE(20)` and `ds.TwoNN()`, on {settings.n_probe}
  training images that are the same after every epoch.
- *lasting rise*: the epoch with the lowest `ds.MLE(20)`, provided that the value of the last
  epoch is higher by at least {rise:.0%}, and significantly so (`ds.difference`). This rule needs
  the whole training run.

"As stated" is "yes" if the run counts as reproduced by the rule *batches*.

{table}

✓: by this rule, the run counts as reproduced. By the other rules, the numbers of runs that
agree with the claim are {others}.

![Accuracy and dimension against epochs]({folder}/ma2018.png)

Dashed lines mark the best test accuracy, dotted lines the turn by the rule *batches*. The folder
`{folder}` beside this page contains the records with the numbers.
"""


def verdict(runs: Sequence[Run], rule: str) -> str:
    """Say whether a rule finds the turn as stated in every run, and in how many it does."""
    word = "reproduced" if all(run.agrees(rule) for run in runs) else "not reproduced"
    return f"{word}: {_agreeing(runs, rule)} runs agree with the claim"


def write_page(runs: Sequence[Run], settings: Settings, n_images: int, out: Path) -> Path:
    """Write the figure into the folder ``out``, and the page beside it.

    Parameters
    ----------
    runs : sequence of Run
    settings : Settings
    n_images : int
        Number of images in the data set.
    out : Path
        Folder with the records.

    Returns
    -------
    Path
        ``out`` with the ending ``.md``.
    """
    _draw(runs, out / "ma2018.png")
    rules = tuple(runs[0].turns)
    lines = [
        "| wrong labels | seed | best epoch | best accuracy | last accuracy | labels learned | "
        f"{' | '.join(rules)} | as stated |",
        "|" + "---|" * (7 + len(rules)),
    ]
    lines.extend(f"| {' | '.join(_row(run))} |" for run in runs)
    text = _PAGE.format(
        verdict=verdict(runs, rules[0]).capitalize(),
        others=", ".join(f"{_agreeing(runs, rule)} for *{rule}*" for rule in rules[1:]),
        clean=_turns_without_noise(runs, rules[0]),
        shares=", ".join(f"{share:.0%}" for share in settings.shares),
        n_training=n_images - settings.held_out,
        settings=settings,
        window=WINDOW,
        rise=RISE,
        table="\n".join(lines),
        folder=out.name,
    )
    path = out.with_suffix(".md")
    write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))
    return path


def _agreeing(runs: Sequence[Run], rule: str) -> str:
    return f"{sum(run.agrees(rule) for run in runs)} of {len(runs)}"


def _turns_without_noise(runs: Sequence[Run], rule: str) -> str:
    turned = [run.turns[rule] is not None for run in runs if not run.share]
    return f"{sum(turned)} of {len(turned)}"


def _row(run: Run) -> list[str]:
    turns = [
        f"{'none' if epoch is None else epoch}{' ✓' if run.agrees(rule) else ''}"
        for rule, epoch in run.turns.items()
    ]
    return [
        *(f"{run.share:.0%}", str(run.seed), str(run.best), f"{max(run.test):.1%}"),
        *(f"{run.test[-1]:.1%}", f"{run.training[-1]:.1%}", *turns),
        "yes" if run.agrees(next(iter(run.turns))) else "no",
    ]


def _draw(runs: Sequence[Run], path: Path) -> None:
    from matplotlib.figure import Figure

    shares = list(dict.fromkeys(run.share for run in runs))
    figure = Figure(figsize=(3.3 * len(shares), 6.5), layout="constrained")
    grid = figure.subplots(3, len(shares), sharex=True, sharey="row", squeeze=False)
    for column, share in enumerate(shares):
        grid[0, column].set_title(f"{share:.0%} wrong labels", fontsize=10)
        grid[-1, column].set_xlabel("epoch")
        for number, run in enumerate(run for run in runs if run.share == share):
            rows = (("test accuracy", run.test), ("local dimension in batches", run.batches),
                    ("MLE(20), fixed images", run.mle))  # fmt: skip
            for ax, (label, curve) in zip(grid[:, column], rows, strict=True):
                ax.plot(curve, color=f"C{number}", linewidth=1.2, label=f"seed {run.seed}")
                _mark(ax, run, f"C{number}")
                if not column:
                    ax.set_ylabel(label)
                ax.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_ylim(0.5, 1)
    grid[0, 0].legend(frameon=False, fontsize=8)
    write_beside(path, lambda beside: figure.savefig(beside, dpi=130))


def _mark(ax: Axes, run: Run, color: str) -> None:
    ax.axvline(run.best, color=color, linewidth=0.8, linestyle="--")
    epoch = run.turns["batches"]
    if epoch is not None:
        ax.axvline(epoch, color=color, linewidth=0.8, linestyle=":")
