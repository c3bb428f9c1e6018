"""The page on noisy labels follows from the records that are kept beside it."""

from pathlib import Path

import torch

from dimscope_experiments.ma2018 import SETTINGS, run, write_page

DOCS = Path(__file__).parents[2] / "docs"


def test_kept_page_follows_from_the_kept_records(tmp_path):
    settings = SETTINGS["small"]
    images = torch.zeros(10_000, 0)
    runs = [
        run(images, images, share, seed, settings, DOCS / "ma2018")  # read from its record
        for share in settings.shares
        for seed in settings.seeds
    ]
    (tmp_path / "ma2018").mkdir()
    page = write_page(runs, settings, len(images), tmp_path / "ma2018")
    assert page.read_text() == (DOCS / "ma2018.md").read_text()
