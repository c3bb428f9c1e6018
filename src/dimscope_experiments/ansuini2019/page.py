"""Page: write a page with the paper's claims, the published values, the results and the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dimscope.files import write_beside

__all__ = ["write_page"]

PUBLISHED = {
    "fig2": "Published dimensions of VGG-16: 29.5 at the input; 72, 62, 44, 19 and 12 at pool1 to "
    "pool5; 8 at d1; 6.3 at d2; 5.2 at the output.",
    "fig3": "Published dimensions of VGG-16: 30 at the input; 82, 104, 117, 75 and 35 at pool1 to "
    "pool5; 30 at d1; 22 at d2; 16 at the output. The published peaks are between 100 and 120, at "
    "a relative depth of 0.2 to 0.4; AlexNet's peak is near 66.",
    "fig4": "Published: Pearson r = 0.94 over 14 networks, and 0.99 over the ResNets.",
    "fig5": "Published for VGG-16: in the trained network, the PC-ID is 194 at the input and 285 "
    "to 411 in the poolings and d1; in the untrained network, it is 265 to 360. The ID of the "
    "untrained network is 30 to 38.",
    "fig6": "Published dimensions:\n"
    "\n"
    "|data|input|conv1|pool1|conv2|pool2|d1|output|\n"
    "|---|---|---|---|---|---|---|---|\n"
    "|MNIST|13.2|12.6|11.9|9.8|9.4|7.8|6.2|\n"
    "|MNIST*|3.0|2.9|3.1|8.0|8.3|7.4|6.2|\n"
    "|MNIST-dagger|13.1|13.4|12.9|12.8|17.8|21.3|9.0|",
    "fig9": "Published for VGG-16 on CIFAR-10: before training, the ID is 22 to 25.5. After 300 "
    "epochs, it is 60 in the early layers and 7.6 in the last hidden layer. The ID of the last "
    "hidden layer falls from 14 to 4.4 in the first epoch, then grows to 7.5.",
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
        lines += [PUBLISHED[name], ""]
    tables = sorted((out / name).glob("*.csv"))
    if tables:
        links = ", ".join(f"[{one.stem}]({out.name}/{name}/{one.name})" for one in tables)
        lines += [f"Numbers: {links}; settings, versions and time: "
                  f"[record]({out.name}/{name}/record.json).", ""]  # fmt: skip
    lines.append(f"Scale `{record['scale']}`; time: {record['seconds'] / 60:.1f} minutes.")
    return lines
