"""Which layers are found in networks that are no stack of convolutions or linear layers."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dimscope.errors import BadSource, CaptureWarning
from dimscope.networks.capturing.capture import capture

# torch announces that it will drop torch.jit and torch.ao, which networks still use
pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning:torch",
    "ignore:.*torch.jit:",
    "ignore:.*torch.ao.quantization is deprecated:DeprecationWarning",
    "ignore:.*reduce_range will be deprecated:UserWarning",
    "ignore:.*quantized tensor creation functions:UserWarning",
    "ignore:.*isinstance.treespec, LeafSpec.:FutureWarning",
)

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SERIES = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(1))
VECTORS = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
CUT_OFF = "no checkpoint between depth"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def found_in(model, x, layers="checkpoints", **options):
    """Return the depths of the layers by name, and the name of the last hidden layer."""
    found = capture(model, x, layers, **options).layers
    last = [layer.name for layer in found if layer.role == "last_hidden"]
    return {layer.name: layer.depth for layer in found}, *last


def depths(text):
    """Read ``name depth name depth``."""
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def hooked(model, x, name):
    """Return what a plain hook sees of a module's call, ``name#2`` for its second."""
    module, _, call = name.partition("#")
    seen = []
    hook = model.get_submodule(module).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    training = model.training
    with torch.no_grad():
        model.eval()(x)
    model.train(training)
    hook.remove()
    value = seen[int(call or 1) - 1]
    return value[0] if isinstance(value, tuple) else value


def assert_hooked(model, x, names, **options):
    found = capture(model, x, list(names), **options)
    for name in names:
        expected = hooked(model, x, name).detach().flatten(1).numpy()
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


# U-Nets ------------------------------------------------------------------------------------


def convolutions(i, o, n=1):
    layers = []
    for number in range(n):
        layers += [nn.Conv2d(o if number else i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(True)]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a, self.b = nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)
        self.skip = nn.Conv2d(i, o, 1)

    def forward(self, x):
        return functional.relu(self.skip(x) + self.b(functional.relu(self.a(x))))


class Activated(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o)

    def forward(self, x):
        return functional.relu(self.norm(self.conv(x)))


class UNet(nn.Module):
    def __init__(self, level, *, transposed=False, attention=False, activation=False):
        super().__init__()
        self.d1, self.d2, self.b = level(3, 8), level(8, 16), level(16, 16)
        self.u2, self.u1 = level(32, 8), level(16, 8)
        self.out, self.pool = nn.Conv2d(8, 2, 1), nn.MaxPool2d(2)
        self.t2 = nn.ConvTranspose2d(16, 16, 2, 2) if transposed else nn.Upsample(scale_factor=2)
        self.t1 = nn.ConvTranspose2d(8, 8, 2, 2) if transposed else nn.Upsample(scale_factor=2)
        self.att = nn.MultiheadAttention(16, 2, batch_first=True) if attention else None
        self.act = functional.relu if activation else lambda x: x

    def forward(self, x):
        a = self.act(self.d1(x))
        b = self.act(self.d2(self.pool(a)))
        m = self.act(self.b(self.pool(b)))
        if self.att is not None:
            t = m.flatten(2).transpose(1, 2)
            m = (t + self.att(t, t, t)[0]).transpose(1, 2).reshape(m.shape)
        u = self.act(self.u2(torch.cat([self.t2(m), b], 1)))
        return self.out(self.act(self.u1(torch.cat([self.t1(u), a], 1))))


def bare(i, o):
    return nn.Conv2d(i, o, 3, padding=1)


ONE = "input 0 d1 1 pool 1 d2 2 pool#2 2 b 3 u2 4 u1 5 output 6"
ONE_TRANSPOSED = "input 0 d1 1 pool 1 d2 2 pool#2 2 b 3 t2 4 u2 5 t1 6 u1 7 output 8"
ONE_ATTENDS = "input 0 d1 1 pool 1 d2 2 pool#2 2 b 3 att 5 u2 6 u1 7 output 8"
TWO_ATTENDS = "input 0 d1 2 pool 2 d2 4 pool#2 4 b 6 att 8 u2 10 u1 12 output 13"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: UNet(convolutions), ONE),
        (lambda: UNet(convolutions, transposed=True), ONE_TRANSPOSED),
        (lambda: UNet(convolutions, attention=True), ONE_ATTENDS),
        (lambda: UNet(lambda i, o: convolutions(i, o, 2), attention=True), TWO_ATTENDS),
        (lambda: UNet(Activated), ONE),
        (lambda: UNet(Activated, transposed=True), ONE_TRANSPOSED),
        (lambda: UNet(bare, activation=True), ONE),
        (lambda: UNet(lambda i, o: nn.Sequential(bare(i, o)), activation=True), ONE),
        (lambda: UNet(lambda i, o: nn.Sequential(bare(i, o), nn.SiLU())), ONE),
    ],
)
def test_levels_of_one_convolution_are_checkpoints(make, expected):
    model = make()
    assert found_in(model, IMAGES) == (depths(expected), "u1")
    assert list(capture(model, IMAGES, "last_hidden")) == ["u1"]


@pytest.mark.parametrize(
    ("level", "n", "transposed"),
    [
        *((lambda i, o, n=n: convolutions(i, o, n), n, t) for n in (2, 3) for t in (False, True)),
        (Residual, 2, False),
    ],
)
def test_levels_of_several_convolutions_are_checkpoints(level, n, transposed):
    found, last = found_in(UNet(level, transposed=transposed), IMAGES)
    step = n + transposed
    assert found == {
        "input": 0, "d1": n, "pool": n, "d2": 2 * n, "pool#2": 2 * n, "b": 3 * n,
        "u2": 3 * n + step, "u1": 3 * n + 2 * step, "output": 3 * n + 2 * step + 1,
    }  # fmt: skip
    assert last == "u1"


@pytest.mark.parametrize(
    "level", [convolutions, Activated, Residual, lambda i, o: convolutions(i, o, 2)]
)
def test_levels_of_a_unet_hold_what_hooks_see(level):
    model = UNet(level)
    names = ["d1", "pool", "d2", "pool#2", "b", "u2", "u1"]
    assert_hooked(model, IMAGES, names)
    checkpoints = capture(model, IMAGES)
    for name in names:
        expected = hooked(model, IMAGES, name).flatten(1).numpy()
        np.testing.assert_allclose(checkpoints[name], expected, rtol=1e-5, atol=1e-6)


def test_activations_outside_the_levels_belong_to_them():
    model = UNet(bare, activation=True)
    expected = hooked(model, IMAGES, "u2").clamp(min=0).flatten(1).numpy()
    np.testing.assert_allclose(capture(model, IMAGES)["u2"], expected, rtol=1e-5, atol=1e-6)


class Down(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.pool, self.convs = nn.MaxPool2d(2), convolutions(i, o, 2)

    def forward(self, x):
        return self.convs(self.pool(x))


class Up(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.up, self.convs = nn.Upsample(scale_factor=2), convolutions(i, o, 2)

    def forward(self, x, skip):
        return self.convs(torch.cat([self.up(x), skip], 1))


class Shallow(nn.Module):
    """A U-Net in which every class occurs once."""

    def __init__(self):
        super().__init__()
        self.stem, self.down, self.up = convolutions(3, 8), Down(8, 16), Up(24, 8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        first = self.stem(x)
        return self.out(self.up(self.down(first), first))


def test_levels_of_different_classes_are_checkpoints():
    model = Shallow()
    assert found_in(model, IMAGES) == (depths("input 0 stem 1 down 3 up 5 output 6"), "up")
    assert_hooked(model, IMAGES, ["stem", "down", "up"])


class Decoded(nn.Module):
    """Residual blocks, then convolutions that are no blocks."""

    def __init__(self):
        super().__init__()
        self.stem, self.e1, self.e2 = convolutions(3, 8), Residual(8, 8), Residual(8, 16)
        self.e3 = Residual(16, 16)
        self.c1, self.c2, self.c3 = convolutions(16, 8), convolutions(8, 8), convolutions(8, 8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.e3(self.e2(self.e1(self.stem(x))))
        return self.out(self.c3(self.c2(self.c1(functional.interpolate(x, scale_factor=2)))))


def test_a_decoder_after_residual_blocks_is_found():
    model = Decoded()
    expected = depths("input 0 e1 3 e2 5 e3 7 c1 8 c2 9 c3 10 output 11")
    assert found_in(model, IMAGES) == (expected, "c3")
    assert_hooked(model, IMAGES, ["e3", "c1", "c3"])


# Autoencoders, generators, stacks of convolutions ----------------------------------------------


def coder(*layers):
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))


class Autoencoder(nn.Module):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 128)
        self.c1, self.c2 = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ConvTranspose2d(8, 8, 4, 2, 1)
        self.c3 = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z):
        x = self.fc(z).view(-1, 8, 4, 4)
        return self.c3(self.c2(self.c1(x).relu()).relu()).tanh()


def pooled_first():
    convs = [nn.Conv1d(4 if i == 0 else 8, 8, 3, padding=1) for i in range(6)]
    layers = [part for conv in convs for part in (conv, nn.ReLU())]
    return nn.Sequential(*layers[:2], nn.MaxPool1d(2), *layers[2:], nn.Flatten(), nn.Linear(24, 3))


@pytest.mark.parametrize(
    ("make", "x", "expected", "last"),
    [
        (
            lambda: Autoencoder(
                coder(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), bare(8, 8)),
                nn.Sequential(
                    *coder(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ConvTranspose2d(8, 8, 4, 2, 1)),
                    bare(8, 3),
                ),
            ),
            IMAGES,
            "input 0 encoder.0 1 encoder.2 2 encoder 3 decoder.0 4 decoder.2 5 output 6",
            "decoder.2",
        ),
        (
            lambda: Autoencoder(
                nn.Sequential(convolutions(3, 8), convolutions(8, 8), convolutions(8, 8)),
                nn.Sequential(convolutions(8, 8), convolutions(8, 8), bare(8, 3)),
            ),
            IMAGES,
            "input 0 encoder.0 1 encoder.1 2 encoder.2 3 decoder.0 4 decoder.1 5 output 6",
            "decoder.1",
        ),
        (Generator, VECTORS, "input 0 fc 1 c1 2 c2 3 output 4", "c2"),
        (
            pooled_first,
            SERIES.transpose(1, 2),
            "input 0 0 1 2 1 3 2 5 3 7 4 9 5 11 6 output 7",
            "11",
        ),
    ],
)
def test_convolutions_after_early_checkpoints_are_found(make, x, expected, last):
    model = make()
    found, last_found = found_in(model, x)
    if last == "decoder.1":  # the bottleneck has two names
        found = {name.replace("encoder.2", "encoder"): depth for name, depth in found.items()}
        expected = expected.replace("encoder.2", "encoder")
    assert (found, last_found) == (depths(expected), last)
    assert list(capture(model, x, "last_hidden")) == [last]


def test_a_network_runs_once_on_each_batch_and_draws_the_same_numbers():
    class Noisy(UNet):
        calls = 0

        def forward(self, x):
            self.calls += 1
            self.noise = torch.randn(())
            return super().forward(x + self.noise)

    model = Noisy(convolutions)
    found = capture(model, IMAGES, batch_size=2)
    assert model.calls == 2 + 4  # of few stimuli: finer values are found at the end of the first
    plain = UNet(convolutions)
    plain.load_state_dict(model.state_dict())
    noise = torch.Generator().manual_seed(0)
    shifts = [torch.randn((), generator=noise) for _ in range(2)]
    expected = torch.cat(
        [hooked(plain, x + s, "d1") for x, s in zip(IMAGES.split(2), shifts, strict=True)]
    )
    np.testing.assert_allclose(found["d1"], expected.flatten(1).numpy(), rtol=1e-5, atol=1e-6)


def test_a_batch_that_the_network_overwrites_is_captured_unchanged():
    class InPlace(UNet):
        def forward(self, x):
            return super().forward(x.mul_(2))

    x = IMAGES.clone()
    model = InPlace(convolutions)
    found = capture(model, x)
    expected = UNet.forward(model.eval(), IMAGES * 2).detach().flatten(1).numpy()
    np.testing.assert_allclose(found["output"], expected, rtol=1e-5, atol=1e-6)


# Recurrent networks --------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, kind, use="output", **options):
        super().__init__()
        self.rnn = kind(4, 6, **options)
        self.head = nn.Linear(12 if options.get("bidirectional") else 6, 3)
        self.use, self.batch_first = use, options.get("batch_first", False)

    def forward(self, x):
        output, state = self.rnn(x if self.batch_first else x.transpose(0, 1))
        if self.use == "state":
            return self.head((state[0] if isinstance(state, tuple) else state)[-1])
        return self.head(output[:, -1] if self.batch_first else output[-1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    ("use", "options"),
    [
        ("output", {"batch_first": True}),
        ("state", {"batch_first": True}),
        ("output", {"batch_first": True, "num_layers": 2}),
        ("state", {"batch_first": True, "num_layers": 2}),
        ("output", {"batch_first": True, "bidirectional": True}),
        ("output", {}),
        ("state", {}),
    ],
)
def test_recurrent_layers_are_checkpoints(kind, use, options):
    model = Recurrent(kind, use, **options)
    assert found_in(model, SERIES) == (depths("input 0 rnn 1 output 2"), "rnn")
    if "batch_first" in options:
        assert_hooked(model, SERIES, ["rnn"])


class Cells(nn.Module):
    def __init__(self, *kinds):
        super().__init__()
        self.cells = nn.ModuleList([kind(4 if i == 0 else 6, 6) for i, kind in enumerate(kinds)])
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        states = [None] * len(self.cells)
        for step in range(x.shape[1]):
            value = x[:, step]
            for i, cell in enumerate(self.cells):
                states[i] = cell(value, states[i])
                value = states[i][0] if isinstance(states[i], tuple) else states[i]
        return self.head(value)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_the_last_call_of_a_cell_is_a_checkpoint(kind):
    model = Cells(kind)
    assert found_in(model, SERIES) == (depths("input 0 cells.0#7 7 output 8"), "cells.0#7")
    assert_hooked(model, SERIES, ["cells.0#7"])
    assert "cells.0#3" in found_in(model, SERIES, "all")[0]


def test_each_of_two_cells_has_its_last_call():
    model = Cells(nn.LSTMCell, nn.GRUCell)
    expected = depths("input 0 cells.0#7 7 cells.1#7 8 output 9")
    assert found_in(model, SERIES) == (expected, "cells.1#7")
    assert_hooked(model, SERIES, ["cells.0#7", "cells.1#7"])


class Translator(nn.Module):
    def __init__(self, *, step_by_step):
        super().__init__()
        self.encoder = nn.GRU(4, 6, batch_first=True)
        self.decoder = nn.GRU(4, 6, batch_first=True)
        self.out, self.step_by_step = nn.Linear(6, 4), step_by_step

    def forward(self, x):
        _, state = self.encoder(x)
        if not self.step_by_step:
            return self.out(self.decoder(x[:, :3], state)[0])
        for step in range(3):
            value, state = self.decoder(x[:, step : step + 1], state)
        return self.out(value)


@pytest.mark.parametrize(
    ("step_by_step", "expected", "last"),
    [
        (False, "input 0 encoder 1 decoder 2 output 3", "decoder"),
        (True, "input 0 encoder 1 decoder#3 4 output 5", "decoder#3"),
    ],
)
def test_encoder_and_decoder_of_sequences_are_checkpoints(step_by_step, expected, last):
    model = Translator(step_by_step=step_by_step)
    assert found_in(model, SERIES) == (depths(expected), last)
    assert_hooked(model, SERIES, ["encoder", last])


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        ends = [self.rnn(part)[0][:, -1] for part in (x, x.flip(1))]
        return self.head(torch.cat(ends, 1))


def test_a_shared_recurrent_layer_on_two_inputs_has_two_checkpoints():
    assert found_in(Siamese(), SERIES)[0] == depths("input 0 rnn 1 rnn#2 1 output 2")
    assert_hooked(Siamese(), SERIES, ["rnn", "rnn#2"])


class Heard(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv1d(4, 6, 3, padding=1), nn.Conv1d(6, 6, 3, padding=1)
        self.rnn, self.head = nn.LSTM(6, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        x = self.c2(self.c1(x.transpose(1, 2)).relu()).relu().transpose(1, 2)
        return self.head(self.rnn(x)[0][:, -1])


def test_convolutions_before_a_recurrent_layer_stay_checkpoints():
    assert found_in(Heard(), SERIES) == (depths("input 0 c1 1 c2 2 rnn 3 output 4"), "rnn")


# Attention -----------------------------------------------------------------------------------


class Attending(nn.Module):
    def __init__(self, n, *, batch_first=True):
        super().__init__()
        self.embed, self.head, self.n = nn.Linear(4, 8), nn.Linear(8, 3), n
        for i in range(n):
            setattr(self, f"att{i}", nn.MultiheadAttention(8, 2, batch_first=batch_first))
        self.batch_first = batch_first

    def forward(self, x):
        x = self.embed(x if self.batch_first else x.transpose(0, 1))
        for i in range(self.n):
            x = x + getattr(self, f"att{i}")(x, x, x)[0]
        return self.head(x.mean(1 if self.batch_first else 0))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_attention_layers_outside_blocks_are_checkpoints(n, batch_first):
    model = Attending(n, batch_first=batch_first)
    inner = {f"att{i}": 3 + 2 * i for i in range(n)}
    expected = {"input": 0, "embed": 1, **inner, "output": 2 + 2 * n}
    assert found_in(model, SERIES) == (expected, f"att{n - 1}")
    if batch_first:
        assert_hooked(model, SERIES, list(inner))


# Wrapped linear layers -------------------------------------------------------------------------


class LoraParameters(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.randn(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + (x @ self.lora_A.T) @ self.lora_B.T * 0.5


class LowRank(nn.Module):
    def __init__(self, base, rank=2):
        super().__init__()
        self.linear = base
        self.first = nn.Linear(base.in_features, rank, bias=False)
        self.second = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x):
        return self.linear(x) + self.second(self.first(x))


class LoraLayer(nn.Module):
    def __init__(self, n_in, n_out, rank):
        super().__init__()
        self.A, self.B = (
            nn.Parameter(torch.randn(n_in, rank)),
            nn.Parameter(torch.randn(rank, n_out)),
        )

    def forward(self, x):
        return x @ self.A @ self.B


class LinearWithLora(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.linear, self.lora = base, LoraLayer(base.in_features, base.out_features, rank)

    def forward(self, x):
        return self.linear(x) + self.lora(x)


class LoraLinear(nn.Linear):
    def __init__(self, base, rank=4):
        super().__init__(base.in_features, base.out_features)
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.randn(base.out_features, rank))

    def forward(self, x):
        return super().forward(x) + (x @ self.lora_A.T) @ self.lora_B.T


def mlp():
    return nn.Sequential(
        nn.Linear(5, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)
    )


WRAPPED = [(0,), (2,), (4,), (0, 2), (2, 4), (0, 2, 4)]


@pytest.mark.parametrize("where", WRAPPED)
@pytest.mark.parametrize("wrapper", [LoraParameters, LowRank, LinearWithLora, LoraLinear])
def test_a_wrapped_linear_layer_is_one_layer(wrapper, where):
    model = mlp()
    for i in where:
        model[i] = wrapper(model[i])
    assert found_in(model, VECTORS) == (depths("input 0 0 1 2 2 output 3"), "2")
    checkpoints = capture(model, VECTORS)
    for name, activation in (("0", "1"), ("2", "3")):
        expected = hooked(model, VECTORS, activation).numpy()
        np.testing.assert_allclose(checkpoints[name], expected, rtol=1e-5, atol=1e-6)


def test_the_parts_of_a_wrapped_layer_can_be_named():
    model = mlp()
    model[2] = LowRank(model[2])
    assert_hooked(model, VECTORS, ["2.linear", "2.first", "2.second", "2"])
    assert found_in(model, VECTORS, ["2.linear", "2.second"])[0] == depths("2.linear 2 2.second 2")


def test_a_bottleneck_of_three_linear_layers_is_no_wrapped_layer():
    class Bottleneck(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 2), nn.Linear(2, 5)

        def forward(self, x):
            return self.c(self.b(self.a(x).relu()).relu()).relu()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = Bottleneck(), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.body(x))

    expected = depths("input 0 body.a 1 body.b 2 body.c 3 output 4")
    assert found_in(Net(), VECTORS) == (expected, "body.c")


@pytest.mark.parametrize("where", WRAPPED)
def test_adapters_of_peft_are_one_layer(where):
    peft = pytest.importorskip("peft")
    targets = [str(i) for i in where]
    model = peft.get_peft_model(mlp(), peft.LoraConfig(target_modules=targets, r=4))
    prefix = "base_model.model."
    expected = {"input": 0, f"{prefix}0": 1, f"{prefix}2": 2, "output": 3}
    assert found_in(model, VECTORS) == (expected, f"{prefix}2")
    expected = hooked(model, VECTORS, f"{prefix}1").numpy()
    found = capture(model, VECTORS)[f"{prefix}0"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["dora", "ia3", "convolutions"])
def test_other_adapters_of_peft_are_one_layer(kind):
    peft = pytest.importorskip("peft")
    if kind == "convolutions":
        layers = [nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(3)]
        model = nn.Sequential(*coder(*layers), nn.Flatten(), nn.Linear(1024, 3))
        config = peft.LoraConfig(target_modules=["0", "2", "4"], r=2)
        names = {f"base_model.model.{i}": 1 + i // 2 for i in (0, 2, 4)}
    else:
        model = mlp()
        targets = {"target_modules": ["0", "2"]}
        config = (
            peft.LoraConfig(r=4, use_dora=True, **targets)
            if kind == "dora"
            else peft.IA3Config(feedforward_modules=[], **targets)
        )
        names = {f"base_model.model.{i}": 1 + i // 2 for i in (0, 2)}
    x = IMAGES if kind == "convolutions" else VECTORS
    model = peft.get_peft_model(model, config)
    expected = hooked(model, x, "base_model.model.1").flatten(1).numpy()
    value = capture(model, x)["base_model.model.0"]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    found, last = found_in(model, x)
    assert found == {"input": 0, **names, "output": len(names) + 1}
    assert last == list(names)[-1]


# Quantised networks ----------------------------------------------------------------------------


def quantization():
    return torch.ao.quantization


def static(model, x, fuse=(), engine="x86"):
    quantize = quantization()
    model = nn.Sequential(quantize.QuantStub(), *model, quantize.DeQuantStub()).eval()
    if fuse:
        model = quantize.fuse_modules(model, [pair.split() for pair in fuse])
    model.qconfig = quantize.get_default_qconfig(engine)
    quantize.prepare(model, inplace=True)
    model(x)
    return quantize.convert(model, inplace=True)


def cnn():
    return nn.Sequential(
        *coder(bare(3, 8), bare(8, 8), bare(8, 8)), nn.Flatten(), nn.Linear(2048, 3)
    )


def test_dynamically_quantised_linear_layers_are_checkpoints():
    model = quantization().quantize_dynamic(mlp(), {nn.Linear})
    with pytest.warns(CaptureWarning, match="depend on which other stimuli are in the batch"):
        layers = found_in(model, VECTORS)
    assert layers == (depths("input 0 0 1 2 2 output 3"), "2")
    expected = hooked(model, VECTORS, "1").numpy()
    with pytest.warns(CaptureWarning, match="in the batch"):
        found = capture(model, VECTORS)
    np.testing.assert_allclose(found["0"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_dynamically_quantised_recurrent_layers_are_checkpoints(kind):
    model = quantization().quantize_dynamic(Recurrent(kind, batch_first=True), {kind, nn.Linear})
    with pytest.warns(CaptureWarning, match="depend on which other stimuli are in the batch"):
        layers = found_in(model, SERIES)
    assert layers == (depths("input 0 rnn 1 output 2"), "rnn")


def test_dynamically_quantised_cells_are_checkpoints():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRUCell(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            state = torch.zeros(len(x), 6)
            for step in range(x.shape[1]):
                state = self.cell(x[:, step], state)
            return self.head(state)

    model = quantization().quantize_dynamic(Loop(), {nn.GRUCell, nn.Linear})
    with pytest.warns(CaptureWarning, match="depend on which other stimuli are in the batch"):
        layers = found_in(model, SERIES)
    assert layers == (depths("input 0 cell#7 7 output 8"), "cell#7")


@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
@pytest.mark.parametrize("fuse", [(), ("1 2", "3 4")])
def test_statically_quantised_linear_layers_hold_dequantised_values(engine, fuse):
    model = static(mlp(), VECTORS, fuse, engine)
    found = capture(model, VECTORS)
    assert [(layer.name, layer.depth) for layer in found.layers] == list(
        depths("input 0 1 1 3 2 output 3").items()
    )
    assert not found.failures
    for name, activation in (("1", "2"), ("3", "4")):
        expected = hooked(model, VECTORS, activation).dequantize().numpy()
        np.testing.assert_array_equal(found[name], expected)
    names = list(found_in(model, VECTORS, "all")[0])
    assert "0" not in names  # the stubs are no layers
    assert "6" not in names


@pytest.mark.parametrize("fuse", [(), ("1 2", "3 4", "5 6")])
def test_statically_quantised_convolutions_are_checkpoints(fuse):
    model = static(cnn(), IMAGES, fuse)
    assert found_in(model, IMAGES) == (depths("input 0 1 1 3 2 5 3 output 4"), "5")
    expected = hooked(model, IMAGES, "6").dequantize().flatten(1).numpy()
    np.testing.assert_array_equal(capture(model, IMAGES)["5"], expected)


def test_fused_layers_are_one_layer():
    model = quantization().fuse_modules(cnn().eval(), [["0", "1"], ["2", "3"], ["4", "5"]])
    assert found_in(model, IMAGES) == (depths("input 0 0 1 2 2 4 3 output 4"), "4")
    assert_hooked(model, IMAGES, ["0", "2", "4"])
    pooled = nn.Sequential(
        *coder(bare(3, 8), bare(8, 8)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 3)
    )
    model = quantization().fuse_modules(pooled.eval(), [["0", "1"], ["2", "3"]])
    assert list(capture(model, IMAGES)) == list(capture(pooled, IMAGES)) == ["input", "4", "output"]


# Mixtures and state spaces -----------------------------------------------------------------------


class Expert(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.a, self.b = nn.Linear(n, 2 * n), nn.Linear(2 * n, n)

    def forward(self, x):
        return self.b(self.a(x).relu())


class Mixture(nn.Module):
    def __init__(self, n, *, sparse=False):
        super().__init__()
        self.gate, self.sparse = nn.Linear(n, 4), sparse
        self.experts = nn.ModuleList([Expert(n) for _ in range(4)])

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        if not self.sparse:
            return sum(weights[:, i : i + 1] * f(x) for i, f in enumerate(self.experts))
        out, top = torch.zeros_like(x), weights.argmax(-1)
        for i, expert in enumerate(self.experts):
            rows = (top == i).nonzero()[:, 0]
            if len(rows):
                out[rows] = expert(x[rows]) * weights[rows, i : i + 1]
        return out


class MixtureNet(nn.Module):
    def __init__(self, *, sparse):
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.mixture = Mixture(8, sparse=sparse)

    def forward(self, x):
        return self.last(self.mixture(self.first(x).relu()))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_mixture_of_experts_is_one_checkpoint(sparse):
    model = MixtureNet(sparse=sparse)
    found, last = found_in(model, VECTORS)
    assert list(found) == ["input", "first", "mixture", "output"]
    assert last == "mixture"
    assert_hooked(model, VECTORS, ["mixture"])


class StateSpace(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.into, self.out = nn.Linear(n, n), nn.Linear(n, n)
        self.conv = nn.Conv1d(n, n, 3, padding=2, groups=n)
        self.A, self.B = nn.Parameter(torch.randn(n, 3)), nn.Parameter(torch.randn(n, 3))

    def forward(self, x):
        u = self.conv(self.into(x).transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        state, ys = 0, []
        for step in range(x.shape[1]):
            state = state * torch.exp(-self.A.abs()) + u[:, step, :, None] * self.B
            ys.append(state.sum(-1))
        return x + self.out(torch.stack(ys, 1))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_state_space_blocks_are_checkpoints(n):
    blocks = nn.Sequential(*(StateSpace(4) for _ in range(n)))
    model = nn.Sequential(nn.Linear(4, 4), blocks, nn.Flatten(), nn.Linear(28, 3))
    found, _ = found_in(model, SERIES)
    assert [*found.values()] == [0, 1, *(1 + 3 * (i + 1) for i in range(n)), 2 + 3 * n]


# Scripted, traced and exported networks -----------------------------------------------------------


SCRIPTED = "scripted or traced by torch.jit: its inner layers cannot be seen; give the original"


def script(model):
    return torch.jit.script(model)


def trace(model, x=VECTORS):
    return torch.jit.trace(model.eval(), x)


@pytest.mark.parametrize("make", [script, trace, lambda m: torch.jit.freeze(script(m.eval()))])
def test_scripted_networks_are_measured_at_their_ends(make):
    plain = mlp().eval()
    model = make(plain)
    for layers in ("checkpoints", "all"):
        with pytest.warns(UserWarning, match=SCRIPTED) as caught:
            found = capture(model, VECTORS, layers)
        assert len(caught) == 1
        assert [(layer.name, layer.depth) for layer in found.layers] == [
            ("input", 0),
            ("output", 3),
        ]
    np.testing.assert_allclose(found["output"], plain(VECTORS).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("make", [script, trace])
def test_layers_of_a_scripted_network_are_refused_with_the_reason(make):
    with pytest.raises(BadSource, match=r"'0' is inside a scripted .* give the original nn.Module"):
        capture(make(mlp()), VECTORS, "0")


class Mixed(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(20, 3)

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("make", [script, trace])
def test_a_scripted_part_is_a_checkpoint(make):
    plain = mlp()[:4]
    model = Mixed(make(plain))
    with pytest.warns(UserWarning, match="body is scripted or traced by torch.jit: the layers"):
        found = capture(model, VECTORS)
    roles = [(layer.name, layer.role, layer.depth) for layer in found.layers]
    assert roles == [("input", "input", 0), ("body", "last_hidden", 2), ("output", "output", 3)]
    np.testing.assert_allclose(found["body"], plain(VECTORS).detach().numpy(), rtol=1e-5)


def test_a_scripted_activation_ends_its_linear_layer():
    model = nn.Sequential(nn.Linear(5, 9), script(nn.ReLU()), nn.Linear(9, 3))
    found = capture(model, VECTORS)  # nothing that counts is hidden, so nothing is said
    assert list(found) == ["input", "0", "output"]
    expected = functional.relu(model[0](VECTORS)).detach().numpy()
    np.testing.assert_allclose(found["0"], expected, rtol=1e-5)


def test_a_scripted_branch_counts_its_longest_path():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x, flag: bool = True):
            y = self.a(x)
            if flag:
                y = self.b(y)
            return y + self.c(x)

    with pytest.warns(UserWarning, match=SCRIPTED):
        found, *_ = found_in(script(Branch()), VECTORS)
    assert found == depths("input 0 output 2")


def exported(model, x):
    return torch.export.export(model.eval(), (x,)).module()


EXPORTED = "the network was exported: layers are named after their weights"


def test_layers_of_an_exported_network_are_named_after_their_weights():
    plain = mlp()
    model = exported(plain, VECTORS)
    with pytest.warns(UserWarning, match=EXPORTED):
        found = capture(model, VECTORS)
    assert {layer.name: layer.depth for layer in found.layers} == depths("input 0 0 1 2 2 output 3")
    expected = plain[:4](VECTORS).detach().numpy()
    np.testing.assert_allclose(found["2"], expected, rtol=1e-5, atol=1e-6)


def test_an_exported_recurrent_layer_is_found():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.export
        model = exported(Recurrent(nn.LSTM, batch_first=True), SERIES)
    with pytest.warns(UserWarning, match=EXPORTED):
        found = found_in(model, SERIES)
    assert found == (depths("input 0 rnn 1 output 2"), "rnn")


# What is not captured is said -----------------------------------------------------------------


def pooled_last(n):
    convs = [nn.Conv1d(4 if i == 0 else 8, 8, 3, padding=1) for i in range(n)]
    return nn.Sequential(*coder(*convs), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))


def test_a_long_stretch_without_checkpoints_is_said_once():
    x = SERIES.transpose(1, 2)
    with pytest.warns(UserWarning, match=f"{CUT_OFF} 0 and 6 of 7; to capture") as caught:
        capture(pooled_last(6), x, batch_size=2)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capture(pooled_last(6), x, "all")
        capture(pooled_last(6), x, "last_hidden")
        capture(pooled_last(3), x)  # two of four have none: no more than half


def test_the_stretch_is_named_where_it_is():
    first = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)]
    convs = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(7)]
    model = nn.Sequential(
        *first, *coder(*convs), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with pytest.warns(UserWarning, match=f"{CUT_OFF} 1 and 8 of 9"):
        capture(model, IMAGES)


class Stage(nn.Sequential):
    def __init__(self, n):
        super().__init__(*(Residual(3, 3) for _ in range(n)))


def test_the_inside_of_a_stage_is_no_stretch_without_checkpoints():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage1, self.stage2 = Stage(2), Stage(9)
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(self.pool(self.stage2(self.stage1(x))).flatten(1))

    expected = depths("input 0 stage1 4 stage2 22 pool 22 output 23")
    assert found_in(Net(), IMAGES) == (expected, "pool")


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.extra, self.last = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        x, far = self.first(x).relu(), bool((x > 50).any())
        return self.last(self.extra(x).relu() if far else x)


@pytest.mark.parametrize("layers", ["checkpoints", "all", "*", "last_hidden"])
def test_layers_that_only_a_later_batch_calls_are_named(layers):
    batches = [VECTORS, VECTORS + 100, VECTORS + 100]
    with pytest.warns(UserWarning, match="first batch did not call them: extra;") as caught:
        capture(Branching(), batches, layers)
    assert len(caught) == 1


def test_layers_that_were_not_selected_are_not_named():
    found = capture(Branching(), [VECTORS, VECTORS + 100], "first")
    assert list(found) == ["first"]


def test_steps_that_only_a_longer_batch_takes_are_named():
    batches = [SERIES[:, :5], SERIES]
    with pytest.warns(UserWarning, match="did not call them: cells.0#6, cells.0#7;"):
        capture(Cells(nn.GRUCell), batches, ["checkpoints"], readout="mean")


# Outputs of other kinds ------------------------------------------------------------------------


@dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor
    parts: list


class Answering(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.fc(x).relu()
        logits = self.head(hidden)
        return Answer(logits.mean(), logits, [{"hidden": hidden}])


def test_outputs_in_dataclasses_are_found():
    model = Answering()
    found = capture(model, VECTORS, ["output", "output[parts][0][hidden]"])
    answer = model.eval()(VECTORS)
    np.testing.assert_allclose(found["output"], answer.logits.detach().numpy(), rtol=1e-5)
    hidden = answer.parts[0]["hidden"].detach().numpy()
    np.testing.assert_allclose(found["output[parts][0][hidden]"], hidden, rtol=1e-5)


def test_the_main_output_does_not_depend_on_the_number_of_stimuli():
    class Pair(nn.Module):
        def forward(self, x):
            return torch.ones(len(x)), x * 2, x[:1]

    found = capture(Pair(), VECTORS, "output")
    np.testing.assert_array_equal(found["output"], (VECTORS * 2).numpy())


def test_a_mean_over_leading_axes_of_a_sequence_is_a_pooling():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 5, 1), nn.Linear(5, 2)

        def forward(self, x):
            positions = torch.stack([*self.conv(x).permute(2, 3, 0, 1)])
            return self.fc(positions.mean((0, 1)))

    found, last = found_in(Pooled(), IMAGES)
    assert list(found) == ["input", last, "output"]
    assert last.endswith(">stack>mean")
