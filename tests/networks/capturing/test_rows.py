"""A row is a stimulus: on whatever axis a tensor holds it, however long the sequences are."""

import re
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from dimscope.errors import BadSource
from dimscope.networks.capturing.capture import capture
from dimscope.networks.capturing.rows import find_layout_by_order, tolerance

N, C = 20, 3


def swapped(t):
    return t.transpose(0, 1)


def same(t):
    return t


def last_axis(t):
    return t.movedim(-1, 0)


def runs(t):
    """Several entries of a stimulus one after the other."""
    return t.reshape(N, -1)


def spread(t):
    """First the first entry of every stimulus, then the second."""
    return t.reshape(-1, N, *t.shape[1:]).transpose(0, 1)


def encoder(layers):
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(C, 4)
        self.enc = encoder(2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.enc(self.inp(x).transpose(0, 1)).mean(0))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(C, 4)
        self.dec = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8), 1)

    def forward(self, x):
        x = self.inp(x).transpose(0, 1)
        return self.dec(x, x[:3]).transpose(0, 1)


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.both = (
            nn.Linear(C, 4),
            nn.Transformer(4, 2, 1, 1, 8, custom_encoder=encoder(1)),
        )

    def forward(self, x):
        x = self.inp(x).transpose(0, 1)
        return self.both(x, x).mean(0)


class Recurrent(nn.Module):
    """Its states are (layers, stimuli, units)."""

    kind, keywords = nn.GRU, MappingProxyType({})

    def __init__(self):
        super().__init__()
        self.net = self.kind(C, 4, **self.keywords)

    def forward(self, x):
        return self.net(x.transpose(0, 1))[0][-1]


class Elman(Recurrent):
    kind = nn.RNN


class TwoLayers(Recurrent):
    keywords = MappingProxyType({"num_layers": 2, "bidirectional": True})


class LongShort(Recurrent):
    kind = nn.LSTM


class LongShortBothWays(LongShort):
    keywords = MappingProxyType({"num_layers": 2, "bidirectional": True})


class BatchFirst(LongShort):
    """Its output is batch first, but its states are not."""

    keywords = MappingProxyType({"batch_first": True})

    def forward(self, x):
        return self.net(x)[0][:, -1]


class Projected(LongShort):
    keywords = MappingProxyType({"proj_size": 2})


class FromStates(LongShort):
    def forward(self, x):
        _, (hidden, _) = self.net(x.transpose(0, 1))
        return hidden[-1]


class Cell(nn.Module):
    """One call of a module for each time step, with one row for each stimulus."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(C, 4)

    def forward(self, x):
        state = None
        for step in x.transpose(0, 1):
            state = self.cell(step, state)
        return state


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.att = nn.Linear(C, 4), nn.MultiheadAttention(4, 2)

    def forward(self, x):
        x = self.inp(x).transpose(0, 1)
        return self.att(x, x, x)[0].mean(0)


class Heads(nn.Module):
    """Heads and stimuli share an axis, as in torch.bmm."""

    def __init__(self):
        super().__init__()
        self.inp, self.heads = nn.Linear(C, 4), nn.Identity()

    def forward(self, x):
        n, steps, _ = x.shape
        x = self.inp(x).reshape(n, steps, 2, 2).transpose(1, 2).reshape(n * 2, steps, 2)
        return self.heads(x.tanh()).reshape(n, 2, steps, 2).sum(1)


class Windows(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(C, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.a(x.reshape(-1, C)).relu()).reshape(len(x), -1, 2).mean(1)


class WindowsFirst(Windows):
    def forward(self, x):
        windows = x.transpose(0, 1).reshape(-1, C)
        return self.b(self.a(windows).relu()).reshape(-1, len(x), 2).mean(0)


class Crops(nn.Module):
    """Two crops, one batch after the other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(C, 4, 1)

    def forward(self, x):
        crops = torch.cat([x, x.flip(1) * 2]).transpose(1, 2)
        return self.conv(crops).relu().reshape(2, len(x), -1).sum(0)


class StimuliLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.turn, self.mix = nn.Identity(), nn.Conv1d(C, 4, 1)

    def forward(self, x):
        x = self.turn(x.permute(1, 2, 0).tanh())
        return self.mix(x).relu().sum(0).T


class StimuliThird(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(C, 4, 1)

    def forward(self, x):
        return self.conv(x.permute(2, 0, 1)[None])[0].sum(0)


class Unlayered(nn.Module):
    """Features times stimuli, as in code after NumPy."""

    def __init__(self):
        super().__init__()
        self.turn, self.weight = nn.Identity(), nn.Parameter(torch.randn(4, C))

    def forward(self, x):
        return self.turn(self.weight @ x[:, 0].T).relu().T


# For each layer, what puts the stimuli of its tensor on the first axis.
LAYERS = {
    Encoder: {
        "enc.layers.0": swapped,
        "enc.layers.1.linear1": swapped,
        "enc": swapped,
        "head": same,
    },
    Decoder: {"inp": same, "dec": swapped, "dec.layers.0.multihead_attn": swapped},
    Both: {"both": swapped, "both.encoder": swapped, "both.decoder": swapped},
    Recurrent: {"net": swapped, "net[1]": swapped},
    Elman: {"net": swapped, "net[1]": swapped},
    TwoLayers: {"net": swapped, "net[1]": swapped},
    LongShort: {"net": swapped, "net[1][0]": swapped, "net[1][1]": swapped},
    LongShortBothWays: {"net": swapped, "net[1][0]": swapped, "net[1][1]": swapped},
    BatchFirst: {"net": same, "net[1][0]": swapped, "net[1][1]": swapped},
    Projected: {"net": swapped, "net[1][0]": swapped, "net[1][1]": swapped},
    FromStates: {"net": swapped, "net[1][0]": swapped, "net[1][1]": swapped},
    Cell: {"cell": same, "cell#2": same},
    Attention: {"att": swapped, "att[1]": same},
    Heads: {"heads": lambda t: t.reshape(N, 2, *t.shape[1:])},
    Windows: {"a": lambda t: t.reshape(N, -1, 4)},
    WindowsFirst: {"a": spread},
    Crops: {"conv": spread},
    StimuliLast: {"turn": last_axis, "mix": last_axis},
    StimuliThird: {"conv": lambda t: t.movedim(2, 0)},
    Unlayered: {"turn": swapped},
}


def sequences(steps, n=N, seed=0):
    return torch.randn(n, steps, C, generator=torch.Generator().manual_seed(seed))


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


def by_hook(network, x, name):
    """The tensor of a layer, from a hook on its module."""
    module, *path = name.replace("]", "").split("[")
    module, _, call = module.partition("#")
    seen = []
    handle = network.get_submodule(module).register_forward_hook(lambda *a: seen.append(a[-1]))
    with torch.no_grad():
        network(x)
    handle.remove()
    value = seen[int(call or 1) - 1]
    if isinstance(value, tuple) and not path:
        path = ["0"]
    for key in path:
        value = value[int(key)]
    return value


# Said once in a process by the first network with projections.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("steps", "batch_size"), [(8, 8), (2, 8), (4, 8), (4, 4), (2, 2), (5, 8), (4, 1), (3, N)]
)
def test_rows_of_every_layer_are_stimuli(kind, steps, batch_size):
    network, x = made(kind), sequences(steps)
    found = capture(network, x, ["input", *LAYERS[kind], "output"], batch_size=batch_size)
    assert not found.failures
    with torch.no_grad():
        wanted = {"input": x, "output": network(x)}
    for name, rows_first in LAYERS[kind].items():
        wanted[name] = rows_first(by_hook(network, x, name))
    for name, tensor in wanted.items():
        points = tensor.reshape(N, -1).numpy()
        assert found[name].shape == points.shape, name
        np.testing.assert_allclose(found[name], points, rtol=1e-4, atol=1e-5, err_msg=name)


# What has no row for each stimulus ---------------------------------------------------------


class Through(nn.Module):
    """Passes the input through a linear layer, and a function of it through another module."""

    def __init__(self, function):
        super().__init__()
        self.fc, self.side, self.function = nn.Linear(C, 4), nn.Identity(), function

    def forward(self, x):
        hidden = self.fc(x)
        self.side(self.function(hidden))
        return hidden.relu()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (
            lambda h: h.flatten(1) @ h.flatten(1).T,
            r"axes 0 and 1 of its shape \(4, 4\) both follow",
        ),
        (lambda h: torch.cdist(h.flatten(1), h.flatten(1)), "as in a table of pairs"),
        (lambda h: h[None].expand(len(h), -1, -1, -1) * 1, "axes 0 and 1 of its shape"),
        (lambda h: h.mean(), r"no axis of its shape \(\) follows the number of stimuli"),
        (lambda h: h.mean((0, 1)), r"no axis of its shape \(4,\) follows"),
        (lambda h: h.mean(0, keepdim=True), r"no axis of its shape \(1, 5, 4\) follows"),
        (lambda h: torch.ones(1, 5, 4), r"no axis of its shape \(1, 5, 4\) follows"),
        (lambda h: torch.cat([h, h[:1]]), "3 entries for 2 stimuli and 5 for 4"),
        (lambda h: h[: len(h) // 2], "1 entries for 2 stimuli and 2 for 4"),
        (lambda h: torch.cat([h, h.flip(0)]), "which entries belong to which stimulus"),
        (lambda h: h if len(h) == 2 else h[0], r"shape is \(2, 5, 4\) for 2 stimuli but \(5, 4\)"),
    ],
    ids=[
        *("pairs", "distances", "expanded", "scalar", "mean", "kept mean", "constant", "token"),
        *("half", "reflected", "another rank"),
    ],
)
@pytest.mark.parametrize("batch_size", [4, 5, 8])
def test_tensors_without_rows_are_refused_by_name(function, reason, batch_size):
    found = capture(Through(function), sequences(5), ["fc", "side"], batch_size=batch_size)
    assert list(found) == ["fc"]
    assert re.search(reason, found.failures["side"]), found.failures["side"]


# Networks of one batch size ------------------------------------------------------------------


class Fixed(nn.Module):
    """Takes one number of stimuli only, as an exported network."""

    def __init__(self, rows, steps):
        super().__init__()
        self.net, self.head = nn.GRU(C, 4), nn.Linear(4, 2)
        self.rows, self.steps = rows, steps

    def forward(self, x):
        states, _ = self.net(x.view(self.rows, self.steps, C).transpose(0, 1))
        return self.head(states.sum(0))


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("steps", [1, 2, 4, 5, 8, 16])
def test_rows_of_a_network_of_one_batch_size_are_stimuli(steps, rows):
    network, x = made(lambda: Fixed(rows, steps)), sequences(steps, n=24)
    found = capture(network, x, ["net", "net[1]", "head"], batch_size=rows)
    assert not found.failures
    for name, rows_first in {"net": swapped, "net[1]": swapped, "head": same}.items():
        parts = [
            rows_first(by_hook(network, part, name)).reshape(rows, -1) for part in x.split(rows)
        ]
        np.testing.assert_allclose(found[name], torch.cat(parts), atol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("folding", [runs, spread])
def test_windows_of_a_network_of_one_batch_size_are_told_apart(folding, n):
    batch = torch.randn(n, 4, C, generator=torch.Generator().manual_seed(0))
    order = [n - 1, *range(n - 1)]

    def folded(t):
        return (t if folding is runs else t.transpose(0, 1)).reshape(4 * n, C)

    layout, gap = find_layout_by_order(folded(batch), folded(batch[order]), order)
    assert gap == 0
    torch.testing.assert_close(layout.rows_first(folded(batch), n), batch)


class NoisyFixed(Fixed):
    """Adds the same random numbers to every stimulus, before it fails on another batch size."""

    def forward(self, x):
        x = x + torch.randn(x.shape[1:])
        return super().forward(x)


def test_noise_of_a_network_of_one_batch_size_is_the_same_in_both_orders():
    found = capture(made(lambda: NoisyFixed(8, 4)), sequences(4, n=24), ["head"], batch_size=8)
    assert not found.failures


class HookedFixed(Fixed):
    """Computes something else when one of its modules has a hook."""

    def forward(self, x):
        return super().forward(x) * (2.0 if self.head._forward_hooks else 1.0)


def test_a_network_of_one_batch_size_is_compared_with_a_plain_call():
    network, x = made(lambda: HookedFixed(8, 4)), sequences(4, n=24)
    found = capture(network, x, ["output"], batch_size=8)
    with torch.no_grad():
        plain = torch.cat([network(part) for part in x.split(8)])
    np.testing.assert_allclose(found["output"], plain, atol=1e-6)


def test_a_network_of_one_batch_size_fails_with_another():
    with pytest.raises(BadSource, match=r"failed on batch 1, of float32 of shape \(6, 4, 3\)"):
        capture(made(lambda: Fixed(8, 4)), sequences(4, n=24), batch_size=6)


# Data whose first axis is time -----------------------------------------------------------------


class TimeFirst(nn.Module):
    """Takes (steps, stimuli, channels)."""

    def __init__(self, kind, last):
        super().__init__()
        torch.manual_seed(0)
        self.inp = nn.Linear(C, 4)
        self.net = {
            "gru": lambda: nn.GRU(4, 4),
            "lstm": lambda: nn.LSTM(4, 4, bidirectional=True),
            "encoder": lambda: encoder(1),
        }[kind]()
        self.last = last

    def forward(self, x):
        x = self.net(self.inp(x))
        x = x[0] if isinstance(x, tuple) else x
        return x[-1] if self.last else x


@pytest.mark.parametrize("last", [False, True], ids=["all steps", "last step"])
@pytest.mark.parametrize("kind", ["gru", "lstm", "encoder"])
@pytest.mark.parametrize("steps", [4, 20, 30])
def test_data_whose_first_axis_is_time_are_refused(kind, last, steps):
    x = sequences(steps).transpose(0, 1).contiguous()
    network = TimeFirst(kind, last).eval()
    with pytest.raises(BadSource, match=r"batch_axis=1 if the stimuli are on the second axis"):
        capture(network, x, "all", batch_size=8)
    found = capture(network, x, ["input", "inp", "output"], batch_size=8, batch_axis=1)
    np.testing.assert_array_equal(found["input"], x.transpose(0, 1).reshape(N, -1))
    with torch.no_grad():
        output = network(x)
    output = output if last else output.transpose(0, 1)
    np.testing.assert_allclose(found["output"], output.reshape(N, -1), atol=1e-5)


class WindowsOf(nn.Module):
    """Two windows of an image, or of a sequence, in one batch."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        windows = torch.stack(x.chunk(2, dim=-2), 1).flatten(0, 1)
        return self.layer(windows).reshape(len(x), 2, -1).mean(1)


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [(nn.Linear(C, 5), (8, C), (1, 2)), (nn.Conv2d(C, 5, 2), (C, 8, 4), (1, 3, 4))],
)
def test_windows_are_positions_to_readouts(layer, shape, axes):
    network, x = WindowsOf(layer), torch.randn(N, *shape)
    tensor = by_hook(network, x, "layer")
    tensor = tensor.reshape(N, 2, *tensor.shape[1:])
    for readout, function in (("mean", torch.mean), ("max", torch.amax)):
        found = capture(network, x, ["layer"], readout=readout)["layer"]
        np.testing.assert_allclose(found, function(tensor, axes).numpy(), rtol=1e-4, atol=1e-5)


class OneSize(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size, self.first, self.last = size, nn.Linear(C, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x).view(self.size, 4).tanh())


@pytest.mark.parametrize("size", [1, 2, 4])
def test_networks_of_one_batch_size_are_captured(size):
    network, x = OneSize(size), torch.randn(N, C)
    found = capture(network, x, "all", batch_size=size)
    assert not found.failures
    with torch.no_grad():
        wanted = network.last(network.first(x).tanh())
    np.testing.assert_allclose(found["output"], wanted, rtol=1e-4, atol=1e-5)


class Flipped(nn.Module):
    """Two views of each image, one batch after the other; without a bias, blank images give 0."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(C, 4, 3, bias=False)

    def forward(self, x):
        return self.conv(torch.cat([x, 2 * x.flip(3)])).view(2, len(x), -1).sum(0)


@pytest.mark.parametrize("n_blank", [1, 4, 6])
def test_blank_stimuli_at_the_beginning_do_not_hide_the_axis_of_the_stimuli(n_blank):
    network, x = made(Flipped), torch.randn(N, C, 6, 6)
    x[:n_blank] = 0
    found = capture(network, x, "all", batch_size=8)
    assert not found.failures
    np.testing.assert_allclose(
        found["conv"], spread(by_hook(network, x, "conv")).flatten(1), rtol=1e-4, atol=1e-5
    )


def test_views_of_blank_stimuli_alone_are_refused():
    found = capture(made(Flipped), torch.zeros(N, C, 6, 6), "all")
    assert "the values do not show" in found.failures["conv"]


def test_tolerance_on_a_device_is_that_of_the_products_there(monkeypatch):
    with FakeTensorMode():
        values = torch.empty(3, device="cuda")
        wide = values.double()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert tolerance(values) == tolerance(torch.empty(3).half()) > 100 * tolerance(torch.empty(3))
    assert tolerance(wide) == tolerance(torch.empty(3).double())
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert tolerance(values) == tolerance(torch.empty(3))
