"""What a few stimuli show: dependence on the batch, padding that leaks, paths of their own."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dimscope.errors import BadSource, CaptureWarning
from dimscope.networks.capturing.capture import capture
from dimscope.networks.capturing.evidence import outputs_differ, reason_against, sides_of
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


# Padding ---------------------------------------------------------------------------------------


class Text(nn.Module):
    """Tokens that see what is real on their left, with the place of a token if wanted."""

    def __init__(self, places=False):
        super().__init__()
        self.embed, self.top, self.places = nn.Linear(6, 8), nn.Linear(8, 3), places
        self.place = nn.Parameter(torch.randn(20, 8))

    def forward(self, x, attention_mask):
        hidden = self.embed(x)
        if self.places:
            hidden = hidden + self.place[: x.shape[1]]
        hidden = hidden * attention_mask[..., None]
        return self.top(self.seen(hidden, attention_mask))

    def seen(self, hidden, mask):
        return (hidden.cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None]).tanh()


class Placed(Text):
    """Takes the places of the tokens, or counts them from the left."""

    def forward(self, x, attention_mask, position_ids=None):
        if position_ids is None:
            position_ids = torch.arange(x.shape[1]).expand(len(x), -1)
        hidden = (self.embed(x) + self.place[position_ids]) * attention_mask[..., None]
        return self.top(self.seen(hidden, attention_mask))


def padded(side):
    real = REAL if side == "right" else REAL.flip(1)
    x = torch.zeros(10, 7, 6)
    x[real] = TEXTS[REAL]
    return {"x": x, "attention_mask": real.long()}


def alone(network, reduce):
    """The readout of each text by itself."""
    with torch.no_grad():
        rows = [
            network(text[None, :n], torch.ones(1, n, dtype=torch.long))[0]
            for text, n in zip(TEXTS, LENGTHS.tolist(), strict=True)
        ]
    return np.stack([reduce(row).numpy() for row in rows])


REDUCED = {
    "first": lambda row: row[0],
    "last": lambda row: row[-1],
    "mean": lambda row: row.mean(0),
    "max": lambda row: row.amax(0),
}


@pytest.mark.parametrize("readout", REDUCED)
@pytest.mark.parametrize(
    ("make", "side"),
    [
        (Text, "right"),
        (Text, "left"),
        (lambda: Text(places=True), "right"),
        (Placed, "right"),
        (Placed, "left"),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 4, 10])
def test_padding_is_never_part_of_a_point(make, side, readout, batch_size):
    network = seeded(make)
    found = capture(network, padded(side), ["output"], readout=readout, batch_size=batch_size)
    wanted = alone(network, REDUCED[readout])
    np.testing.assert_allclose(found["output"], wanted, atol=1e-5)
    order = np.random.default_rng(0).permutation(10)
    shuffled = {key: value[order] for key, value in padded(side).items()}
    again = capture(network, shuffled, ["output"], readout=readout, batch_size=batch_size)
    np.testing.assert_allclose(again["output"], wanted[order], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 10])
def test_padding_on_the_left_is_refused_where_places_count_from_it(batch_size):
    network = seeded(lambda: Text(places=True))
    with pytest.raises(
        BadSource, match=r"padded on the left.*by \d\.\d+ of its norm.*pad on the r"
    ):
        capture(network, padded("left"), ["output"], readout="last", batch_size=batch_size)


def test_a_side_that_a_later_batch_pads_is_checked_then():
    network = seeded(lambda: Text(places=True))
    right, left = padded("right"), padded("left")
    data = [{k: v[:5] for k, v in right.items()}, {k: v[5:] for k, v in left.items()}]
    with pytest.raises(BadSource, match="texts of batch 2 are padded on the left"):
        capture(network, data, ["output"], readout="last")


def test_a_text_without_a_real_token_is_refused():
    data = padded("right")
    data["attention_mask"][6] = 0
    with pytest.raises(BadSource, match="leaves out every token of stimulus 2 in batch 2"):
        capture(seeded(Text), data, ["output"], readout="mean", batch_size=4)


def test_layers_into_which_padding_leaks_are_refused_by_name():
    class Leaking(Text):
        def __init__(self):
            super().__init__()
            self.smooth = nn.Conv1d(6, 6, 3, padding=1)
            self.noise = nn.Parameter(torch.randn(6))

        def forward(self, x, attention_mask):
            x = torch.where(attention_mask[..., None] > 0, x, self.noise)
            self.smooth(x.transpose(1, 2))
            return super().forward(x, attention_mask)

    found = capture(
        seeded(Leaking), padded("right"), ["smooth", "output"], readout="mean", batch_size=5
    )
    assert list(found) == ["output"]
    assert "values at real tokens change with it" in found.failures["smooth"]


def test_padding_of_attention_maps_and_pooled_sequences_cannot_be_left_out():
    class Maps(Text):
        def __init__(self):
            super().__init__()
            self.map, self.pool = nn.Identity(), nn.AvgPool1d(2)

        def forward(self, x, attention_mask):
            self.map(x @ x.transpose(1, 2))
            self.pool(x.transpose(1, 2))
            return super().forward(x, attention_mask)

    data = padded("right")
    found = capture(seeded(Maps), data, ["map", "pool", "output"], readout="mean", batch_size=5)
    assert list(found) == ["output"]
    assert "axes 1 and 2 both follow the number of tokens" in found.failures["map"]
    assert "the mask does not say which" in found.failures["pool"]
    whole = {**data, "attention_mask": torch.ones(10, 7, dtype=torch.long)}
    assert len(capture(seeded(Maps), whole, ["map", "pool", "output"], readout="mean")) == 3


class OneLength(Text):
    """Takes texts of seven tokens only, and as many as it is told."""

    def __init__(self, rows=None):
        super().__init__()
        self.place, self.rows = nn.Parameter(torch.randn(7, 8)), rows
        self.add, self.pool = nn.Identity(), nn.Identity()

    def forward(self, x, attention_mask):
        if self.rows:
            x = x.view(self.rows, 7, 6)
        real = attention_mask[..., None]
        hidden = self.add((self.embed(x) + self.place).tanh())
        return self.pool((hidden * real).sum(1) / real.sum(1))


@pytest.mark.parametrize("rows", [None, 5])
@pytest.mark.parametrize("readout", REDUCED)
def test_padding_is_left_out_where_texts_have_one_length(readout, rows):
    network, data = seeded(lambda: OneLength(rows)), padded("right")
    found = capture(network, data, ["add", "pool"], readout=readout, batch_size=5)
    with torch.no_grad():
        wanted = [network(*(v[i : i + 5] for v in data.values())) for i in (0, 5)]
        hidden = (network.embed(data["x"]) + network.place).tanh()
    np.testing.assert_allclose(found["pool"], torch.cat(wanted), atol=1e-6)
    for row, tokens, real in zip(found["add"], hidden, data["attention_mask"].bool(), strict=True):
        reduced = {
            "first": tokens[real][0],
            "last": tokens[real][-1],
            "mean": tokens[real].mean(0),
            "max": tokens[real].amax(0),
        }
        np.testing.assert_allclose(row, reduced[readout], atol=1e-6)
    data["attention_mask"][:] = 1
    assert len(capture(network, data, ["add", "pool"], readout=readout, batch_size=5)) == 2


def test_sides_of_a_mask():
    assert sides_of(torch.ones(3, 4, dtype=torch.bool)) == {}
    assert sides_of(REAL) == {"right": 8}
    assert sides_of(REAL.flip(1)) == {"left": 8}
    assert sides_of(torch.tensor([[False, True, False], [True, True, True]])) == {
        "left": 0,
        "right": 0,
    }
