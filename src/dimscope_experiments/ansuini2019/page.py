"""Page: write a page with the paper's claims, the published values, the results and the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dimscope.files import write_beside

__all__ = ["write_page"]

PUBLISHED = {
    "fig2": "VGG-16: input 29.5, pool1 to pool5 72, 62, 44, 19, 12, d1 8, d2 6.3, output 5.2.",
    "fig3": "VGG-16: input 30, pool1 to pool5 82, 104, 117, 75, 35, d1 30, d2 22, output 16; peaks "
    "between 100 and 120 at a relative depth of 0.2 to 0.4, AlexNet's near 66.",
    "fig4": "Pearson r = 0.94 over 14 networks, 0.99 over the ResNets.",
    "fig5": "VGG-16 trained: PC-ID 194 at the input, 285 to 411 in the poolings and d1; untrained "
    "265 to 360. ID of the untrained network 30 to 38.",
    "fig6": "input, conv1, pool1, conv2, pool2, d1, output: MNIST 13.2, 12.6, 11.9, 9.8, 9.4, 7.8, "
    "6.2; MNIST* 3.0, 2.9, 3.1, 8.0, 8.3, 7.4, 6.2; MNIST-dagger 13.1, 13.4, 12.9, 12.8, 17.8, "
    "21.3, 9.0.",
    "fig9": "VGG-16 on CIFAR-10: untrained 22 to 25.5, after 300 epochs 60 early and 7.6 in the "
    "last hidden layer; its ID falls from 14 to 4.4 in the first epoch, then grows to 7.5.",
}


def write_page(out: Path) -> Path:
    """Write the page next to the results folder, from the records in that folder.

    Parameters
    ----------
    out : Path
        Folder with one subfolder per figure.

    Returns
    -------
    Path
        ``out`` with the ending ``.md``.
    """
    records = [json.loads(path.read_text(encoding="utf-8")) for path in _records(out)]
    lines = [
        "# Ansuini et al. (2019), figure by figure",
        "",
        "`dimscope reproduce all` makes this page, with the settings in the file `settings.toml`",
        "of `dimscope_experiments.ansuini2019`. A rule in the code derives every verdict from a",
        "measured number. *Refuted* means that the claim does not hold for the networks and data",
        "used here. Rows with the same number belong to the same claim.",
        "",
        "| claim | verdict | measured | figure |",
        "|---|---|---|---|",
    ]
    claims = [(claim, record) for record in records for claim in record["claims"]]
    for claim, record in sorted(claims, key=lambda one: int(one[0]["number"])):
        lines.append(
            f"| {claim['number']}. {claim['says']} | **{claim['verdict']}** | {claim['measured']} "
            f"| [{record['figure']}](#{record['figure']}) |"
        )
    for record in records:
        lines += ["", *_section(out, record)]
    path = out.with_suffix(".md")
    write_beside(path, lambda beside: beside.write_text("\n".join(lines) + "\n", encoding="utf-8"))
    return path


def _records(out: Path) -> list[Path]:
    return sorted(out.glob("*/record.json"))


def _section(out: Path, record: dict[str, Any]) -> list[str]:
    name = record["figure"]
    lines = [f"## {name}", ""]
    if (out / name / f"{name}.png").exists():
        lines += [f"![{name}]({out.name}/{name}/{name}.png)", ""]
    if record.get("says"):
        lines += [record["says"], ""]
    if name in PUBLISHED:
        lines += [f"Published: {PUBLISHED[name]}", ""]
    tables = sorted((out / name).glob("*.csv"))
    if tables:
        links = ", ".join(f"[{one.stem}]({out.name}/{name}/{one.name})" for one in tables)
        lines += [f"Numbers: {links}; settings, versions and time: "
                  f"[record]({out.name}/{name}/record.json).", ""]  # fmt: skip
    lines.append(f"Scale `{record['scale']}`, {record['seconds'] / 60:.1f} minutes.")
    return lines
