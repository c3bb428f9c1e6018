"""What a few stimuli show: dependence on the batch, and paths of the network's own."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dimscope.errors import BadSource, CaptureWarning
from dimscope.networks.capturing.capture import capture
from dimscope.networks.capturing.evidence import outputs_differ, reason_against
from dimscope.networks.capturing.session import Session
from dimscope.networks.options import CaptureOptions
from networks.capturing.checks import CHECK_ROWS

X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


# Dependence on the batch -------------------------------------------------------------------


class Normalised(nn.Module):
    """Normalises by the statistics of the batch, in eval mode too."""

    def __init__(self, norm):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(6, 4), norm, nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.norm(self.a(x)).relu())


def test_layers_that_depend_on_the_batch_are_named():
    network = seeded(lambda: Normalised(nn.BatchNorm1d(4, track_running_stats=False)))
    with pytest.warns(CaptureWarning) as caught:
        found = capture(network, X, "all", batch_size=8)
    assert list(found) == ["input", "a", "norm", "norm>relu", "output"]
    assert len(caught) == 1
    said = str(caught[0].message)
    assert "3 of 5 layers ('norm', 'norm>relu', 'output'; 'norm' by 1." in said
    assert "depend on which other stimuli are in the batch" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capture(network, X, ["input", "a"], batch_size=8)  # those that are captured do not


def test_batch_normalisation_with_running_statistics_depends_on_nothing():
    network = seeded(lambda: Normalised(nn.BatchNorm1d(4)))
    assert len(capture(network.train(), X, "all", batch_size=8)) == 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_dynamic_quantisation_depends_on_the_batch():
    plain = seeded(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)))
    quantised = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    x = X * torch.tensor([[1.0], [7.0], [1.0], [20.0]]).repeat(5, 1)
    with pytest.warns(CaptureWarning, match=r"by 0\.\d+ of its norm\) depend on which other"):
        found = capture(quantised, x, batch_size=4)
    with torch.no_grad():
        wanted = torch.cat([quantised(part) for part in x.split(4)])
    np.testing.assert_array_equal(found["output"], wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_dependence(dtype):
    network = seeded(lambda: nn.Sequential(nn.Linear(512, 300), nn.GELU(), nn.Linear(300, 50)))
    x = torch.randn(9, 512, generator=torch.Generator().manual_seed(0))
    assert capture(network.to(dtype), x, "all").n_points == 9


@pytest.mark.parametrize("noise", ["dropout", "normal", "batch"])
def test_random_networks_are_not_taken_for_dependent(noise):
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x):
            if noise == "dropout":
                return nn.functional.dropout(self.fc(x), 0.3, training=True)
            shift = torch.randn(x.shape if noise == "normal" else (1, 6))
            return self.fc(x + shift)

    assert capture(Random(), X, "all", batch_size=8).n_points == 20


def test_nan_is_no_dependence():
    x = X.clone()
    x[0, 0] = torch.nan
    assert np.isnan(capture(nn.Linear(6, 4), x, batch_size=8)["output"][0]).all()


def test_reason_against_names_the_first_reason():
    few, more = {"a": X[[0, 1]], "b": X[[0, 1]].long()}, {"a": X[[2, 3, 1, 0]], "b": X[:4].long()}
    assert reason_against(few, more) is None
    assert "depend on the others" in reason_against(few, {"a": X[:4]})
    assert "no axis of its shape (2, 6)" in reason_against(few, {"a": X[[0, 1]]})
    assert reason_against(few["b"], more["b"]) == "the output holds no floating-point tensor"
    assert reason_against([{}, {}], [{}, {}, {}, {}]) is None  # one entry for each image


def test_outputs_differ_beyond_rounding():
    assert outputs_differ({"": X}, X * (1 + 1e-6)) == 0.0
    assert outputs_differ({"": X}, X * 1.5) == pytest.approx(1 / 3)
    assert outputs_differ({"[0]": X, "[1][a]": X}, (X, {"a": X * 1.5})) == pytest.approx(1 / 3)
    assert outputs_differ({"": X}, X[:4]) == np.inf
    assert outputs_differ({"": X.long()}, X.long() + 1) == 0.0


# Before the first batch ----------------------------------------------------------------------


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(6, 4)
        self.rows = []

    def forward(self, x):
        self.rows.append(len(x))
        return super().forward(x)


@pytest.mark.parametrize(("n", "batch_size"), [(20, 8), (3, 8), (5, 1), (4, 4)])
def test_the_checks_are_three_short_runs(n, batch_size):
    network = Counting()
    capture(network, X[:n], batch_size=batch_size)
    batches = [min(batch_size, n - begin) for begin in range(0, n, batch_size)]
    assert network.rows == [*CHECK_ROWS, *batches]


def test_the_checks_leave_the_random_stream_of_the_batches_alone():
    class Random(nn.Module):
        def forward(self, x):
            return x + torch.randn(x.shape)

    found = capture(Random(), X, "output", batch_size=8, seed=3)["output"]
    torch.manual_seed(3)
    noise = torch.cat([torch.randn(part.shape) for part in X.split(8)])
    np.testing.assert_array_equal(found, X + noise)


# The network's own path ------------------------------------------------------------------------


class Encoder(nn.Module):
    """Without hooks, PyTorch runs its encoder by one kernel, which sets padding to zero."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.enc = nn.Linear(6, 8), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x, src_key_padding_mask=None):
        return self.head(self.enc(self.embed(x), src_key_padding_mask=src_key_padding_mask))


TEXTS = torch.randn(10, 7, 6, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([7, 3, 5, 7, 2, 4, 6, 7, 1, 5])
REAL = torch.arange(7)[None] < LENGTHS[:, None]
PADDED = {"x": TEXTS, "src_key_padding_mask": ~REAL}
nested = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


@nested
def test_the_fast_path_of_transformers_is_left_as_it_is():
    network = seeded(Encoder)
    found = capture(
        network, PADDED, ["input", "embed", "enc", "output"], readout="last", batch_size=5
    )
    with torch.no_grad():
        plain = torch.cat([network(TEXTS[i : i + 5], ~REAL[i : i + 5]) for i in (0, 5)])
        alone = torch.cat(
            [
                network.enc(network.embed(text[None, :n]))[:, -1]
                for text, n in zip(TEXTS, LENGTHS, strict=True)
            ]
        )
    rows = torch.arange(10)
    np.testing.assert_allclose(found["output"], plain[rows, LENGTHS - 1], atol=1e-6)
    np.testing.assert_allclose(found["enc"], alone, atol=1e-5)
    np.testing.assert_array_equal(found["input"], TEXTS[rows, LENGTHS - 1])


@nested
def test_padding_of_the_fast_path_is_what_a_plain_call_returns():
    network = seeded(Encoder)

    def everything(tensor, mask):
        return tensor

    found = capture(network, PADDED, ["output"], readout=everything, batch_size=10)
    with torch.no_grad():
        plain = network(TEXTS, ~REAL)
    np.testing.assert_allclose(found["output"], plain.reshape(10, -1), atol=1e-6)


@nested
def test_a_network_on_its_own_path_is_observed_and_restored():
    network = seeded(Encoder)
    mine = network.head.forward

    def offloading(*arguments, **keywords):  # as accelerate puts its own function there
        return mine(*arguments, **keywords)

    network.head.forward = offloading
    hook = network.embed.register_forward_hook(lambda *a: None)
    session = Session(network, PADDED, CaptureOptions(layers="all", batch_size=5))
    session.examine()
    assert session.run.untraced
    capture(network, PADDED, "all", readout="mean", batch_size=5)
    assert network.head.__dict__["forward"] is offloading
    for name, module in network.named_modules():
        assert name == "head" or "forward" not in module.__dict__, name
        hooks = [*module._forward_hooks, *module._forward_pre_hooks]
        assert hooks == ([hook.id] if name == "embed" else []), name
    assert not torch.overrides._get_current_function_mode_stack()


@nested
def test_a_network_on_its_own_path_is_restored_after_an_error():
    network = seeded(Encoder)
    data = iter(
        [
            {k: v[:5] for k, v in PADDED.items()},
            {"x": TEXTS[:5, :, :3], "src_key_padding_mask": ~REAL[:5]},
        ]
    )
    with pytest.raises(BadSource):
        capture(network, data, "all", readout="mean")
    assert not any("forward" in module.__dict__ for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_other_networks_are_traced():
    session = Session(seeded(lambda: nn.Linear(6, 2)), X, CaptureOptions())
    session.examine()
    assert not session.run.untraced
