"""How often ``ds.diagnose`` is right about networks whose condition is known.

``python -m benchmarks.diagnosis fixed`` scores the networks on which its rules were fixed, and
``held-out`` the others, from the profiles in ``diagnosis.json``. With a folder of
:mod:`benchmarks.conditions`, the profiles are those in the folder, with influences. ``keep FOLDER``
writes ``diagnosis.json``, and ``page`` puts the scores into docs/diagnosis.md.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dimscope as ds
from benchmarks.conditions import ARCHITECTURES, CONDITIONS, SEEDS
from benchmarks.timing import fill, table
from dimscope.profiles.diagnosis.evidence import comparable_layers
from dimscope.profiles.diagnosis.findings import FindingKind
from dimscope.profiles.diagnosis.shape import FALL, RISE

KEPT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parent.parent / "docs" / "diagnosis.md"

Case = tuple[str, int]  # an architecture and a seed

FIXED_ON: list[Case] = [(kind, seed) for kind in ("mlp", "cnn", "vgg") for seed in (0, 1)]
HELD_OUT: list[Case] = [
    case for case in itertools.product(ARCHITECTURES, SEEDS) if case not in FIXED_ON
]

SCORED: tuple[FindingKind, ...] = (
    "hunchback", "untrained", "memorised labels", "dead layers", "too few dimensions",
)  # fmt: skip
_BORDER = 1.05  # Shapes nearer to the threshold than this factor are not scored.
_LEARNED = 0.95  # Networks that learned fewer of their shuffled labels are not scored.
_OUTCOMES = ("right", "wrong", "cannot tell", "not scored")


@dataclass(frozen=True, eq=False)
class Known:
    """A network: what is known of it, its profile, and that of its other training images."""

    facts: Mapping[str, Any]
    profile: ds.Profile
    other: ds.Profile


# -- profiles -----------------------------------------------------------------------------

# What is kept of an estimate; the rest has its default.
_FIELDS = (
    "dimension", "std_error", "n_points", "n_duplicates", "n_copies", "is_lower_bound",
    "degrees_of_freedom", "hubness", "distance", "reason",
)  # fmt: skip


def from_folder(folder: Path, cases: Iterable[Case]) -> list[Known]:
    """Read the networks of some cases as they were measured."""
    known = []
    for (kind, seed), condition in itertools.product(cases, CONDITIONS):
        stem = folder / f"{kind}_{seed}_{condition.replace(' ', '_')}"
        facts = json.loads(Path(f"{stem}.facts.json").read_text(encoding="utf-8"))
        known.append(Known(facts, *(ds.Profile.load(f"{stem}.{part}.json") for part in "pq")))
    return known


def keep(folder: Path) -> None:
    """Write what the rules read of all networks to :data:`KEPT`."""
    rows = []
    for known in from_folder(folder, FIXED_ON + HELD_OUT):
        profiles = [
            [
                {"layer": {k: _short(v) for k, v in asdict(layer).items()}}
                | {name: _short(profile[layer.name].to_dict()[name]) for name in _FIELDS}
                for layer in profile.layers
            ]
            for profile in (known.profile, known.other)
        ]
        rows.append(json.dumps({"facts": known.facts, "profiles": profiles}, allow_nan=False))
    KEPT.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def kept(cases: Iterable[Case]) -> list[Known]:
    """Read the networks of some cases from :data:`KEPT`."""
    chosen = set(cases)
    known = []
    for row in json.loads(KEPT.read_text(encoding="utf-8")):
        facts = row["facts"]
        if (facts["kind"], facts["seed"]) in chosen:
            known.append(Known(facts, *map(_rebuilt, row["profiles"])))
    return known


def _rebuilt(rows: list[dict[str, Any]]) -> ds.Profile:
    layers = tuple(ds.Layer(**row["layer"]) for row in rows)
    estimates = {row["layer"]["name"]: ds.Estimate.from_dict(row) for row in rows}
    return ds.Profile(layers, {"twonn": estimates})


# -- the truth ----------------------------------------------------------------------------


def truths(known: Known) -> dict[str, bool | None]:
    """What is true of a network, from how it was made and from its other images."""
    condition, output = known.facts["condition"], known.other["output"]
    is_shuffled = condition.startswith("shuffled")
    low, high = output.interval
    border = low < np.log2(10) < high
    return {
        "hunchback": hunchback(known.other),
        "untrained": condition == "untrained",
        "memorised labels": None
        if is_shuffled and known.facts["training_accuracy"] < _LEARNED
        else is_shuffled,
        "dead layers": bool(known.facts["killed"]),
        "too few dimensions": None if border else not float(output) >= np.log2(10),
    }


def hunchback(profile: ds.Profile) -> bool | None:
    """Whether the numbers alone show a hunchback; None near the border."""
    if any(np.isnan(float(estimate)) for estimate in profile.values()):
        return None
    names = comparable_layers(profile.layers, profile)
    dimensions = np.array([float(profile[name]) for name in names])
    first, last, between = dimensions[0], dimensions[-1], dimensions[1:-1]
    size = np.minimum(between / first / RISE, between / last / FALL).max()
    return None if 1 / _BORDER < size < _BORDER else bool(size > 1)


def is_right(finding: ds.Finding, truth: bool, known: Known) -> bool:
    """Whether a verdict is right; of dead layers, also which is the first."""
    if finding.kind == "dead layers" and truth and finding.verdict == "found":
        killed, layers = known.facts["killed"], list(known.profile)
        first = killed if killed in layers else next(
            name for name in layers if name.isdigit() and int(name) >= int(killed)
        )  # fmt: skip
        return finding.layers[0] == first
    return (finding.verdict == "found") == truth


# -- scores -------------------------------------------------------------------------------


def outcomes(networks: Iterable[Known], *, accuracies: bool = False) -> list[dict[str, Any]]:
    """Score every verdict, with the accuracies given to ``diagnose`` or not."""
    rows = []
    for known in networks:
        given = {}
        if accuracies:
            given = {
                "train_accuracy": known.facts["training_accuracy"],
                "test_accuracy": known.facts["test_accuracy"],
            }
        diagnosis = ds.diagnose(known.profile, **given)
        for kind, truth in truths(known).items():
            finding = diagnosis.of(kind)
            if truth is None:
                outcome = "not scored"
            elif finding.verdict == "cannot tell":
                outcome = "cannot tell"
            else:
                outcome = "right" if is_right(finding, truth, known) else "wrong"
            rows.append({
                "network": known.facts["kind"], "seed": known.facts["seed"],
                "condition": known.facts["condition"], "finding": kind, "truth": truth,
                "verdict": finding.verdict, "outcome": outcome, "says": finding.says,
            })  # fmt: skip
    return rows


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count the outcomes."""
    return {word: sum(row["outcome"] == word for row in rows) for word in _OUTCOMES}


def _cells(rows: list[dict[str, Any]]) -> list[str]:
    n = counts(rows)
    given = n["right"] + n["wrong"]
    total = given + n["cannot tell"]
    return [
        *(
            f"{part} of {whole}" + (f" ({part / whole:.0%})" if whole else "")
            for part, whole in ((n["right"], given), (n["cannot tell"], total))
        ),
        str(n["not scored"]),
    ]


def _confusion(rows: list[dict[str, Any]]) -> str:
    """Make a table of verdicts where a finding is true, and where it is not."""
    verdicts = ("found", "cannot tell", "not found")
    head = ["", *(f"{truth}: {v}" for truth in ("true", "not true") for v in verdicts)]
    body = [
        [
            kind,
            *(
                sum(
                    row["finding"] == kind and row["truth"] is truth and row["verdict"] == verdict
                    for row in rows
                )
                for truth in (True, False)
                for verdict in verdicts
            ),
        ]
        for kind in SCORED
    ]
    return table(head, body)


def tables(networks: list[Known]) -> str:
    """Make the tables with and without accuracies, and list what is wrong."""
    parts = []
    for accuracies in (False, True):
        rows = outcomes(networks, accuracies=accuracies)
        errors = {ds.diagnose(known.profile).errors for known in networks}
        title = f"{len(networks)} networks, {' or '.join(sorted(errors))} errors"
        title += ", accuracies given:" if accuracies else ", no accuracies:"
        body = [
            [name, *_cells([row for row in rows if row[key] == name])]
            for key, names in (
                ("finding", SCORED),
                ("network", dict.fromkeys(row["network"] for row in rows)),
                ("condition", CONDITIONS),
            )
            for name in names
        ]
        body.append(["**all**", *_cells(rows)])
        parts.append(
            f"{title}\n\n{table(['', 'right, of verdicts', 'cannot tell', 'not scored'], body)}"
        )
        parts.append(_confusion(rows))
        wrong = [
            f"- {row['network']}, seed {row['seed']}, {row['condition']}: {row['finding']} "
            f"{row['verdict']}: {row['says']}"
            for row in rows
            if row["outcome"] == "wrong"
        ]
        if wrong:
            parts.append("Wrong:\n\n" + "\n".join(wrong))
    return "\n\n".join(parts)


def main(what: str, folder: str | None = None) -> None:
    """Keep profiles, print tables, or put those of the held-out networks on the page."""
    if what == "keep":
        keep(Path(str(folder)))
    elif what == "page":
        fill(PAGE, "diagnosis", tables(kept(HELD_OUT)))
    else:
        cases = {"fixed": FIXED_ON, "held-out": HELD_OUT}[what]
        print(tables(kept(cases) if folder is None else from_folder(Path(folder), cases)))


if __name__ == "__main__":
    main(*sys.argv[1:])
