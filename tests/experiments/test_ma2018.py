"""Noisy labels: the rules for the turn, the experiment at its smallest scale."""

import json

import numpy as np
import pytest
import torch

import dimscope as ds
from dimscope.manifolds import cube
from dimscope_experiments.ma2018 import SETTINGS, Run, lasting_rise, noisy, turn
from dimscope_experiments.ma2018.__main__ import main
from dimscope_experiments.ma2018.page import verdict


def a_run(share=0.4, test=(0.5, 0.9, 0.7), curve=(5.0,) * 3, lasting=None):
    return Run(share, 0, test, (0.5,) * 3, curve, curve, (0.1,) * 3, curve, lasting)


def test_noisy_changes_exactly_the_share_and_to_every_other_class():
    labels = torch.arange(10).repeat(500)
    changed = noisy(labels, 0.4, seed=3)
    wrong = changed != labels
    assert int(wrong.sum()) == 2000
    assert len(torch.unique(labels[wrong] * 10 + changed[wrong])) == 90
    assert torch.equal(changed, noisy(labels, 0.4, seed=3))
    assert not torch.equal(changed, noisy(labels, 0.4, seed=4))
    assert torch.equal(noisy(labels, 0.0, seed=3), labels)


def test_turn_is_the_epoch_before_the_first_rise_above_the_window():
    window = [5.0, 4.0, 5.0, 4.0, 5.0]  # mean 4.6, standard deviation 0.49
    assert turn([*window, 5.55]) is None
    assert turn([*window, 5.6]) == 4
    assert turn([9.0, 8.0, *window, 4.5, 9.0, 9.0]) == 7


def test_turn_needs_a_whole_window():
    assert turn([5.0, 4.0, 3.0, 2.0, 9.0]) is None


def test_turn_has_the_stated_rate_of_false_alarms_on_flat_curves():
    rng = np.random.default_rng(0)
    found = [turn(curve) is not None for curve in rng.standard_normal((4000, 6))]
    assert abs(np.mean(found) - 0.09) < 0.015


def test_lasting_rise_needs_a_rise_of_a_tenth_that_lasts():
    points = cube(1000, 5)
    four, five = (ds.estimate(points[:, :d]) for d in (4, 5))
    assert lasting_rise([five, four, five]) == 1
    assert lasting_rise([five, four]) is None
    assert lasting_rise([four, five, four]) is None
    small = cube(2000, 8) * [1, 1, 1, 1, 1, 1, 1, 0.3]
    lower, higher = ds.MLE(20)(small), ds.MLE(20)(cube(2000, 8))
    assert ds.difference(higher, lower).p_value < 1e-6
    assert lasting_rise([lower, higher]) is None


def test_lasting_rise_must_be_significant():
    few = cube(40, 5)
    estimates = [ds.estimate(few[:, :4]), ds.estimate(few)]
    assert float(estimates[1]) > 1.1 * float(estimates[0])
    assert lasting_rise(estimates) is None


@pytest.mark.parametrize(
    ("share", "lasting", "agrees"),
    [(0.4, 1, True), (0.4, 3, True), (0.4, 4, False), (0.4, None, False), (0.0, None, True),
     (0.0, 1, False)],
)  # fmt: skip
def test_a_run_agrees_near_the_best_epoch_with_noise_and_without_a_turn_else(
    share, lasting, agrees
):
    assert a_run(share, lasting=lasting).best == 1
    assert a_run(share, lasting=lasting).agrees("lasting rise") is agrees


def test_verdict_is_reproduced_for_all_runs_only():
    good, bad = a_run(lasting=1), a_run(lasting=None)
    assert verdict([good, good], "lasting rise") == "reproduced: 2 of 2 runs agree with the claim"
    assert (
        verdict([good, bad], "lasting rise") == "not reproduced: 1 of 2 runs agree with the claim"
    )


@pytest.mark.slow
def test_experiment_writes_records_a_figure_and_a_page(tmp_path, capsys):
    pytest.importorskip("sklearn")
    out = tmp_path / "small"
    arguments = ["--scale", "smoke", "--out", str(out), "--cache", str(tmp_path / "cache")]
    main([*arguments, "--seed", "0"])
    assert not out.with_suffix(".md").exists()
    record = out / "noise-40-seed-0.json"
    written = record.stat().st_mtime_ns
    capsys.readouterr()
    main(arguments)
    assert record.stat().st_mtime_ns == written  # it was read, not run again
    assert "epochs" not in capsys.readouterr().out
    values = json.loads(record.read_text())["run"]
    epochs = SETTINGS["smoke"].epochs
    assert all(len(values[name]) == epochs + 1 for name in ("test", "batches", "mle", "two_nn"))
    assert values["test"][-1] > 0.5
    assert (out / "ma2018.png").stat().st_size > 5000
    page = out.with_suffix(".md").read_text()
    assert "| 40% | 0 |" in page
    assert "| 0% | 0 |" in page
