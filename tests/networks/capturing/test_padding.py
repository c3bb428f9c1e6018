"""What padding changes: layers it leaks into, sides of their own, texts of one length."""

import numpy as np
import pytest
import torch
from torch import nn

from dimscope.errors import BadSource
from dimscope.networks.capturing.capture import capture
from dimscope.networks.capturing.padding import sides_of

TEXTS = torch.randn(10, 7, 6, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([7, 3, 5, 7, 2, 4, 6, 7, 1, 5])
REAL = torch.arange(7)[None] < LENGTHS[:, None]


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


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
