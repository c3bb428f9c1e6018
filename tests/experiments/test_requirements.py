"""What figures need is listed from their settings, before anything is downloaded."""

import json
from pathlib import Path

import pytest
import torch
from torchvision.models import VGG16_Weights

from dimscope.cli import main
from dimscope_experiments.ansuini2019 import FIGURES, Study
from dimscope_experiments.ansuini2019.requirements import RATES, Needs, needs_of
from dimscope_experiments.ansuini2019.zoo import members

PAPER = {
    "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def study(tmp_path, scale="paper", **folders):
    return Study(scale, tmp_path / "out", tmp_path / "cache", **folders)


def names(needs):
    return {item.name: item for item in needs.items}


def test_needs_of_fig3_are_the_networks_of_the_paper(tmp_path):
    needs = needs_of(study(tmp_path), "fig3")
    listed = {name for name in names(needs) if name.startswith("torchvision/")}
    assert listed == {f"torchvision/{name}@IMAGENET1K_V1" for name in PAPER}
    vgg = names(needs)["torchvision/vgg16@IMAGENET1K_V1"]
    assert vgg.download == pytest.approx(VGG16_Weights.IMAGENET1K_V1.meta["_file_size"] * 2**20)
    assert not needs.shared  # the zoo is not part of it at this scale


def test_operations_are_those_that_the_weights_state(tmp_path):
    needs = needs_of(study(tmp_path), "fig5")  # VGG-16, trained and untrained, on 2000 images
    stated = VGG16_Weights.IMAGENET1K_V1.meta["_ops"] * 1e9
    assert needs.operations == pytest.approx(2 * 2000 * stated, rel=0.01)
    assert needs.seconds == (needs.operations / RATES[1], needs.operations / RATES[0])


def test_disk_of_the_zoo_is_that_of_its_checkpoints(tmp_path):
    here = study(tmp_path)
    zoo = here.of("zoo")
    expected = sum(
        3 * 4 * sum(p.numel() for p in member.build().parameters()) * max(zoo["epochs"])
        for member in members(zoo)
        if member.epochs == max(zoo["epochs"])
    )
    fig4, fig8 = needs_of(here, "fig4"), needs_of(here, "fig8")
    assert sum(part[1] for part in fig4.shared) == expected
    both = Needs.joined([fig4, fig8])
    assert both.disk == expected  # trained once
    assert both.operations < Needs.joined([fig4]).operations * 1.1


def test_present_data_and_weights_are_found(tmp_path):
    (tmp_path / "data" / "imagenet").mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    for name in ("vgg16_bn-1.pth", "vgg16-397923af.pth"):
        (tmp_path / "weights" / name).write_bytes(b"")
    here = study(tmp_path, data=tmp_path / "data", weights=tmp_path / "weights")
    needs = needs_of(here, "fig5")
    assert all(item.is_present and not item.download for item in needs.items)
    assert names(needs)["torchvision/vgg16@IMAGENET1K_V1"].where.endswith("vgg16-397923af.pth")
    missing = needs_of(study(tmp_path), "fig5")
    assert not any(item.is_present for item in missing.items)


@pytest.mark.parametrize(
    ("scale", "figure", "code", "says"),
    [
        ("smoke", "fig1", 0, "fig1: disk 0.0 GB, minutes"),
        ("paper", "fig5", 1, "missing: ImageNet images, torchvision/vgg16@IMAGENET1K_V1"),
        ("small", "fig6", 1, "missing: MNIST t10k-images-idx3-ubyte"),
    ],
)
def test_reproduce_check_lists_and_makes_nothing(
    tmp_path, monkeypatch, capsys, scale, figure, code, says
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["reproduce", figure, "--scale", scale, "--check", "--cache", str(tmp_path / "c")])
    assert done.value.code == code
    assert says in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_reproduce_check_of_all_figures_names_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["reproduce", "all", "--scale", "paper", "--check"])
    assert done.value.code == 1
    out = capsys.readouterr().out
    for figure in FIGURES:
        assert f"{figure}: disk" in out
    assert "CIFAR-10: would be downloaded, 170 MB" in out
    assert "together, scale paper: downloads 5.5 GB" in out


def test_rates_are_those_of_the_kept_records(tmp_path):
    kept = Path(__file__).parents[2] / "docs" / "paper"
    small = study(tmp_path, "small")
    rates = {}
    for figure in ("fig2", "fig3", "fig9"):
        seconds = json.loads((kept / figure / "record.json").read_text())["seconds"]
        rates[figure] = Needs.joined([needs_of(small, figure)]).operations / seconds
    # the record of fig5 was made on a machine that was busy with other work
    assert 0.5 * RATES[0] < min(rates.values()) < 2 * RATES[0]
    assert 0.5 * RATES[1] < max(rates.values()) < 2 * RATES[1]


def test_the_weights_of_a_folder_are_those_that_the_name_means(tmp_path):
    for name in ("vgg16_bn", "vgg16"):
        (tmp_path / f"{name}.pt").write_bytes(b"")
    assert study(tmp_path, weights=tmp_path).weights_of("vgg16") == tmp_path / "vgg16.pt"
