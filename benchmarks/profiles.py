"""Cost and memory of a whole profile against a bare forward pass over the same batches.

With ``DIMSCOPE_PIXELS``, a ``.npy`` file of images of 32 x 32 x 3 pixels, the images are real ones.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision

import dimscope as ds
from benchmarks.timing import interleaved, table

CASES = {
    "EfficientNet-lite0": (500, 1.3), "ResNet-18": (500, 1.15), "VGG-16": (512, 1.05),
    "ViT-tiny": (1000, 1.2),
}  # fmt: skip
_TEXTS, _TOKENS, _MOST = 1000, 20, 1.1  # of SmolLM2-135M
_BATCH = 32
_BUDGET = 20.0  # seconds for the rounds of each column of a row
_LONG = {"VGG-16"}  # a forward pass takes minutes: no peak memory, which benchmarks.memory measures
_ROUNDS = 2  # of a network whose first round takes more than the budget


def network(name: str) -> torch.nn.Module:
    """A network with random weights; their values do not change the cost."""
    torch.manual_seed(0)
    if name == "EfficientNet-lite0":
        from efficientnet_lite_pytorch import EfficientNet

        return EfficientNet.from_name("efficientnet-lite0").eval()
    if name == "ViT-tiny":
        import timm

        return timm.create_model("vit_tiny_patch16_224").eval()
    return getattr(torchvision.models, name.lower().replace("-", ""))(weights=None).eval()


def batches(n: int) -> torch.Tensor:
    """Smooth random images: noise blurred by interpolation, so that neighbours differ."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(n, 3, 16, 16, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=224, mode="bilinear")


def real_batches(n: int) -> torch.Tensor:
    """Real images, enlarged and scaled as networks of ImageNet take them."""
    pixels = np.load(os.environ["DIMSCOPE_PIXELS"], mmap_mode="r")[:n].reshape(n, 32, 32, 3)
    small = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 255
    return (torch.nn.functional.interpolate(small, size=224, mode="bilinear") - 0.45) / 0.22


def forward(net: torch.nn.Module, images: torch.Tensor) -> None:
    """Run the network and keep nothing."""
    with torch.inference_mode():
        for batch in images.split(_BATCH):
            net(batch)


def profile(net: torch.nn.Module, images: torch.Tensor) -> ds.Profile:
    """All checkpoints, dimension and error."""
    return ds.profile(net, images, batch_size=_BATCH)


def language_model() -> list[str]:
    """Capture all blocks of a language model, against its own hidden states."""
    from benchmarks.language import load

    model, _ = load()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(100, 40_000, (_TEXTS, _TOKENS), generator=generator)
    batches = [{"input_ids": batch} for batch in ids.split(_BATCH)]
    blocks = [f"model.layers.{i}" for i in range(model.config.num_hidden_layers)]

    def own() -> list[torch.Tensor]:
        """The last token's hidden state in every block, as a user would keep it."""
        kept = []
        with torch.inference_mode():
            for batch in batches:
                states = model(**batch, output_hidden_states=True).hidden_states[1:]
                kept.append(torch.stack([state[:, -1] for state in states]))
        return kept

    median = interleaved(
        {"own": own, "capture": lambda: ds.capture(model, batches, layers=blocks, readout="last")},
        budget=_BUDGET,
    )
    return [
        "SmolLM2-135M", str(_TEXTS), str(_TOKENS), f"{median['own']:.1f}",
        f"{median['capture'] / median['own']:.2f}", str(_MOST),
    ]  # fmt: skip


def run() -> str:
    """Measure all networks and return the table."""
    warnings.simplefilter("ignore", ds.TiedPoints)
    rows = []
    kind = "real" if "DIMSCOPE_PIXELS" in os.environ else "noise"
    for name, (n, bound) in CASES.items():
        net, images = network(name), (real_batches if kind == "real" else batches)(n)
        profile(net, images[: 4 * _BATCH])  # warms the memory
        median = interleaved(
            {
                "forward": lambda net=net, images=images: forward(net, images),
                "profile": lambda net=net, images=images: profile(net, images),
            },
            _ROUNDS if name in _LONG else 9,
            budget=math.inf if name in _LONG else _BUDGET,
        )
        rows.append(
            [
                name,
                kind,
                n,
                f"{median['forward']:.1f}",
                f"{median['profile'] / median['forward']:.2f}",
                f"{bound}",
            ]
        )
        print(rows[-1], flush=True)
    heads = ["network", "images", "N", "forward (s)", "profile / forward", "at most"]
    of_text = ["model", "texts", "tokens", "own (s)", "capture / own", "at most"]
    return "\n\n".join(
        [
            table(heads, rows),
            "All blocks of a language model, against `output_hidden_states=True` (*own*).",
            table(of_text, [language_model()]),
        ]
    )


def peaks() -> str:
    """Measure the peak memory of all networks but the longest, and return the table."""
    rows = []
    for name in [name for name in CASES if name not in _LONG]:
        forward_peak, profile_peak = (_peak(what, name) for what in ("forward", "profile"))
        captured = profile_peak["captured"]
        over = profile_peak["peak"] - forward_peak["peak"]
        sizes = captured, over, 1.2 * captured + 1e9
        rows.append([name, CASES[name][0], *(f"{size / 1e9:.2f}" for size in sizes)])
        print(rows[-1], flush=True)
    heads = ["network", "N", "captured (GB)", "peak above forward (GB)", "at most (GB)"]
    return table(heads, rows)


def _peak(what: str, name: str) -> dict[str, float]:
    """Peak resident memory of a fresh process that runs the forward pass or the profile."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.profiles", what, name],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _report_peak(what: str, name: str) -> None:
    warnings.simplefilter("ignore", ds.TiedPoints)
    net, images = network(name), batches(CASES[name][0])
    captured = 0
    if what == "forward":
        forward(net, images)
    else:
        found = profile(net, images)
        captured = sum(layer.n_features for layer in found.layers) * len(images) * 4
    # not ru_maxrss, which a process inherits from the one that started it
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"peak": peak, "captured": captured}))


if __name__ == "__main__":
    _report_peak(*sys.argv[1:])
