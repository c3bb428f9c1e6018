"""Recurrent, generative and other networks, written as their users would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.architectures.zoo import FOLDED, add, user_dataset

# Recurrent ----------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A classifier of sequences that reads out the last step."""

    def __init__(self, kind: type[nn.Module], time_first: bool = False) -> None:
        super().__init__()
        self.rnn = kind(5, 16, num_layers=2, batch_first=not time_first)
        self.head = nn.Linear(16, 3)
        self.time_first = time_first

    def forward(self, x):
        if self.time_first:
            return self.head(self.rnn(x.transpose(0, 1))[0][-1])
        return self.head(self.rnn(x)[0][:, -1])


class TimeFirst(nn.Module):
    """A classifier of sequences that come time first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(5, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[1][-1])


# The state after the last step, (layers, n, units), is never batch first. With 7 steps, the
# sequence is as long as one of the batch sizes.
STATES = (("rnn[[]1]*", 1),)
STEPS_FIRST = (("rnn*", 1),)
for kind in (nn.RNN, nn.LSTM, nn.GRU):
    name = kind.__name__
    add(f"{name} batch first", lambda kind=kind: Recurrent(kind), (7, 5), axes=STATES, n=35)
    add(
        f"{name} time first inside",
        lambda kind=kind: Recurrent(kind, True),
        (7, 5),
        axes=STEPS_FIRST,
        n=35,
    )
add(
    "GRU on data that are time first",
    TimeFirst,
    lambda n: torch.randn(7, n, 5),
    form="tensor (7, n, 5) with batch_axis=1",
    batch_axis=1,
    n=35,
    axes=(*STEPS_FIRST, ("input", 1)),
)


# Encoders and decoders ----------------------------------------------------------------------


class Translator(nn.Module):
    """The default nn.Transformer, which is sequence first, behind an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 16)
        self.transformer = nn.Transformer(16, 2, 2, 2, 32)
        self.head = nn.Linear(16, 60)

    def forward(self, source, target):
        source, target = (self.words(ids).transpose(0, 1) for ids in (source, target))
        return self.head(self.transformer(source, target)).transpose(0, 1)


add(
    "seq2seq nn.Transformer",
    Translator,
    [((7,), 60), ((5,), 60)],
    handed=user_dataset,
    n=35,
    # weights of attention, the second output of nn.MultiheadAttention, are batch first
    axes=(("words*", 0), ("transformer*attn[[]1]", 0), ("transformer*", 1), ("head", 1)),
)


class TimeFirstEncoder(nn.Module):
    """The default nn.TransformerEncoder behind a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x).transpose(0, 1)).mean(0))


ENCODER = (("encoder*attn[[]1]", 0), ("encoder*", 1))
add("nn.TransformerEncoder time first inside", TimeFirstEncoder, (32, 2), axes=ENCODER, n=64)


def double(inputs: int, outputs: int) -> nn.Module:
    """Two convolutions of a U-Net."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = double(3, 8), double(8, 16), double(16, 16)
        self.up2, self.up1 = double(32, 8), double(16, 8)
        self.pool, self.out = nn.MaxPool2d(2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        x = functional.interpolate(self.bottom(self.pool(b)), scale_factor=2)
        x = functional.interpolate(self.up2(torch.cat([x, b], 1)), scale_factor=2)
        return self.out(self.up1(torch.cat([x, a], 1)))


def diffusion() -> nn.Module:
    import diffusers

    return diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


add("U-Net", UNet, (3, 16, 16))
add(
    "diffusion U-Net with time",
    diffusion,
    lambda n: (torch.randn(n, 3, 8, 8), torch.randint(0, 1000, (n,))),
    form="TensorDataset: (n, 3, 8, 8), (n) times",
    handed=user_dataset,
)
add(
    "GAN generator",
    lambda: nn.Sequential(
        nn.Linear(8, 64),
        nn.Unflatten(1, (4, 4, 4)),
        nn.ConvTranspose2d(4, 8, 4, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1),
        nn.Tanh(),
    ),
    (8,),
)
add(
    "GAN discriminator",
    lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 4, 2, 1)),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 16, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(256, 1),
    ),
    (3, 16, 16),
    axes=(("*parametrizations*", None),),  # weights
)


class Autoencoder(nn.Module):
    """A variational autoencoder, which gives back the image and the parameters of its code."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(24, 4), nn.Linear(24, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 64), nn.Sigmoid())

    def forward(self, x):
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return self.decoder(code).reshape(x.shape), mean, log_variance


add("autoencoder", Autoencoder, (1, 8, 8))


# Images in other forms ----------------------------------------------------------------------


class Siamese(nn.Module):
    """One network for both images of a pair, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6)
        )
        self.head = nn.Linear(6, 1)

    def forward(self, first, second):
        return self.head((self.body(first) - self.body(second)).abs())


add("siamese", Siamese, [(3, 12, 12), (3, 12, 12)], handed=user_dataset)


def detector() -> nn.Module:
    from torchvision.models import detection
    from torchvision.ops import MultiScaleRoIAlign

    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
    backbone.out_channels = 8
    return detection.FasterRCNN(
        backbone,
        rpn_anchor_generator=detection.rpn.AnchorGenerator(((8, 16),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
        min_size=32,
        max_size=32,
        rpn_post_nms_top_n_test=20,
        rpn_nms_thresh=0.2,  # leaves a number of regions that differs between images
        rpn_pre_nms_top_n_test=20,
        box_score_thresh=0.0,
        box_head=detection.faster_rcnn.TwoMLPHead(8 * 9, 16),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(16, 3),
    )


def image_lists(images: list[Tensor], batch_size: int) -> list[list[Tensor]]:
    """Hand over batches that are lists of images."""
    return [images[i : i + batch_size] for i in range(0, len(images), batch_size)]


add(
    "detector",
    detector,
    lambda n: [torch.rand(3, 32, 32) for _ in range(n)],
    form="batches that are lists of images (3, 32, 32)",
    call=lambda network, images: network(images),
    handed=image_lists,
    # regions of interest, of all images in turn: as many as an image has, which may differ
    axes=(
        ("roi_heads*", None),
        ("rpn", None),
        ("rpn[[]*", None),
        ("rpn.anchor*", None),
        ("output*", None),
    ),
)


def segmenter() -> nn.Module:
    from torchvision.models import _utils, segmentation

    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
    layers = _utils.IntermediateLayerGetter(backbone, {"2": "out"})
    return segmentation.FCN(layers, segmentation.fcn.FCNHead(16, 4))


add("segmenter", segmenter, (3, 16, 16))


def video() -> nn.Module:
    from torchvision.models.video.resnet import BasicBlock, Conv3DSimple

    return nn.Sequential(
        nn.Conv3d(3, 8, (3, 5, 5), (1, 2, 2), (1, 2, 2)),
        nn.BatchNorm3d(8),
        nn.ReLU(inplace=True),
        BasicBlock(8, 8, Conv3DSimple),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


add("video", video, (3, 4, 12, 12))


class Frames(nn.Module):
    """A classifier of films that folds the frames into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(8, 4)

    def forward(self, films):
        features = self.body(films.flatten(0, 1)).flatten(1)
        return self.head(features).reshape(len(films), -1, 4).mean(1)


FRAMES = (("body*", FOLDED), ("head", FOLDED))
add("video, frames folded into the batch", Frames, (4, 3, 8, 8), axes=FRAMES)


# Waves --------------------------------------------------------------------------------------

add(
    "audio",
    lambda: nn.Sequential(
        nn.Unflatten(1, (1, 320)),
        nn.Conv1d(1, 8, 16, 4),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(8, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    ),
    (320,),
)
add(
    "1-d convolutions",
    lambda: nn.Sequential(
        nn.Conv1d(4, 8, 5, padding=2),
        nn.BatchNorm1d(8),
        nn.GELU(),
        nn.AvgPool1d(2),
        nn.Conv1d(8, 8, 3, dilation=2),
        nn.GELU(),
        nn.Flatten(),
        nn.LazyLinear(4),
    ),
    (4, 32),
)


# Graphs -------------------------------------------------------------------------------------


class Graphs(nn.Module):
    """A classifier of graphs: convolutions on the nodes, and a mean over each graph."""

    def __init__(self) -> None:
        super().__init__()
        from torch_geometric.nn import GCNConv, global_mean_pool

        self.conv1, self.conv2 = GCNConv(4, 16), GCNConv(16, 16)
        self.head, self.pool = nn.Linear(16, 3), global_mean_pool

    def forward(self, data):
        h = self.conv1(data.x, data.edge_index).relu()
        h = self.conv2(h, data.edge_index).relu()
        return self.head(self.pool(h, data.batch))


def graphs(n: int) -> list[Any]:
    """Return rings of 4 to 9 nodes."""
    from torch_geometric.data import Data

    rings = []
    for i in range(n):
        nodes = torch.arange(4 + i * 5 % 6)
        edges = torch.stack([nodes, nodes.roll(-1)])
        rings.append(Data(torch.randn(len(nodes), 4), torch.cat([edges, edges.flip(0)], 1)))
    return rings


def together(rings: list[Any]) -> Any:
    """Return several graphs as the batch that a loader makes of them."""
    from torch_geometric.data import Batch

    return Batch.from_data_list(rings)


add(
    "graph",
    Graphs,
    graphs,
    form="batches of graphs (torch_geometric.data.Batch)",
    call=lambda network, part: network(together(part)),
    handed=lambda data, size: [together(data[i : i + size]) for i in range(0, len(data), size)],
    axes=(("conv*", None), ("input*", None)),  # rows are nodes
)


# Experts and states -------------------------------------------------------------------------


class Experts(nn.Module):
    """Experts that each take a limited share of the tokens; the tokens in excess pass by.

    Which tokens are in excess depends on those of the other stimuli.
    """

    def __init__(self, capacity: float) -> None:
        super().__init__()
        self.embed, self.router = nn.Linear(4, 16), nn.Linear(16, 3)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.head, self.capacity = nn.Linear(16, 5), capacity

    def forward(self, x):
        h = self.embed(x)
        tokens = h.flatten(0, 1)
        weights, choice = self.router(tokens).softmax(-1).max(-1)
        most = max(1, int(self.capacity * len(tokens) / len(self.experts)))
        mixed = tokens.clone()
        for i, expert in enumerate(self.experts):
            rows = (choice == i).nonzero().flatten()[:most]
            mixed[rows] += weights[rows, None] * expert(tokens[rows])
        return self.head(mixed.reshape(h.shape).mean(1))


ROUTED = (("router", FOLDED), ("experts.*", None))
add("mixture of experts", lambda: Experts(3.0), (6, 4), axes=ROUTED)
add(
    "mixture of experts of limited capacity",
    lambda: Experts(0.6),
    (6, 4),
    axes=ROUTED,
    depends_on_batch=True,
)


class StateSpace(nn.Module):
    """Linear recurrences, one for each channel, computed step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.gate, self.out = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 3)
        self.decay = nn.Parameter(torch.linspace(-2, 2, 16))
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        u, state, states = self.inner(x), 0.0, []
        for step in u.unbind(1):
            state = self.decay.sigmoid() * state + step
            states.append(state)
        h = self.norm(torch.stack(states, 1) * functional.silu(self.gate(x)))
        return self.out(h.mean(1))


add("state space", StateSpace, (11, 4))
