"""What a few stimuli show: padding changes nothing, or is refused."""

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from dimscope.errors import BadSource
from dimscope.networks.capturing.capture import capture

N, L, V = 6, 9, 50
LENGTHS = torch.tensor([9, 4, 7, 2, 9, 5])
RIGHT = (torch.arange(L)[None] < LENGTHS[:, None]).long()
IDS = torch.randint(5, V, (N, L), generator=torch.Generator().manual_seed(0))


class OneLength(nn.Module):
    """Takes sequences of length L only, because it has a vector for each position."""

    def __init__(self):
        super().__init__()
        self.embed, self.positions = nn.Embedding(V, 8), nn.Parameter(torch.randn(1, L, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.zeroed, self.head = nn.Identity(), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids) + self.positions
        x = self.block(x, src_key_padding_mask=attention_mask == 0)
        mask = attention_mask[..., None]
        x = self.zeroed(x * mask)
        return self.head(x.sum(1) / mask.sum(1))


class Recurrent(nn.Module):
    """Takes no mask."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(V, 8), nn.GRU(8, 8, batch_first=True)

    def forward(self, input_ids):
        return self.rnn(self.embed(input_ids))[0]


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


def real_tokens(network, name, batch):
    """The real tokens of each stimulus in the output of a module, from a hook."""
    seen = []
    handle = network.get_submodule(name).register_forward_hook(lambda *a: seen.append(a[-1]))
    with torch.no_grad():
        network(**batch)
    handle.remove()
    tensor = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    return [tensor[row, :n] for row, n in enumerate(LENGTHS)]


@pytest.mark.parametrize("readout", ["mean", "last", "max", "tokens"])
@pytest.mark.parametrize("batch_size", [2, 6])
def test_padding_is_left_out_of_the_points_of_a_network_for_one_length(readout, batch_size):
    batch = {"input_ids": IDS * RIGHT, "attention_mask": RIGHT}
    network = made(OneLength)
    names = ["embed", "block.linear1"]
    found = capture(network, batch, [*names, "zeroed"], readout=readout, batch_size=batch_size)
    read = {"mean": lambda t: t.mean(0), "last": lambda t: t[-1], "max": lambda t: t.amax(0)}
    for name in names:
        tokens = real_tokens(network, name, batch)
        points = torch.cat(tokens) if readout == "tokens" else [read[readout](t) for t in tokens]
        wanted = np.stack([point.numpy() for point in points])
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5, err_msg=name)
    assert "which of its axes counts the tokens is unknown" in found.failures["zeroed"]


def test_a_mask_that_the_network_does_not_take_says_what_is_padding():
    network, batch = made(Recurrent), {"input_ids": IDS * RIGHT, "attention_mask": RIGHT}
    found = capture(network, batch, ["rnn"], readout="last")
    wanted = [t[-1].numpy() for t in real_tokens(network, "rnn", {"input_ids": batch["input_ids"]})]
    np.testing.assert_allclose(found["rnn"], wanted, rtol=1e-4, atol=1e-5)
    assert found.provenance.parameters["inputs"] == "inputs: input_ids; mask: attention_mask"


def test_positions_that_are_given_equal_those_of_the_text_alone():
    """RoBERTa counts them from 2, and from the ids: another id of padding makes them wrong."""
    config = transformers.RobertaConfig(
        vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, pad_token_id=1,
    )  # fmt: skip
    left = RIGHT.flip(1)
    network = made(lambda: transformers.RobertaModel(config))
    batch = {"input_ids": torch.where(left.bool(), IDS, 1), "attention_mask": left}
    found = capture(network, batch, ["encoder.layer.0"], readout="last")
    with torch.no_grad():
        alone = [network(row[mask.bool()][None])[0] for row, mask in zip(IDS, left, strict=True)]
    wanted = [tensor[0, -1].numpy() for tensor in alone]
    np.testing.assert_allclose(found["encoder.layer.0"], wanted, rtol=1e-4, atol=1e-5)
    batch["input_ids"] = torch.where(left.bool(), IDS, 0)
    with pytest.raises(BadSource, match="padded on the left"):
        capture(network, batch, ["encoder.layer.0"], readout="last")


class TakesNoPositions(nn.Module):
    """Has a parameter for positions, but fails when they are given."""

    def __init__(self):
        super().__init__()
        self.embed, self.places = nn.Embedding(V, 8), nn.Embedding(L, 8)

    def forward(self, input_ids, attention_mask=None, position_ids=None):
        if position_ids is not None:
            raise ValueError("not implemented")
        return self.embed(input_ids) + self.places.weight[: input_ids.shape[1]]


def test_left_padding_is_refused_where_positions_cannot_be_given():
    left = RIGHT.flip(1)
    batch = {"input_ids": IDS * left, "attention_mask": left}
    with pytest.raises(BadSource, match="padded on the left"):
        capture(made(TakesNoPositions), batch, readout="last")
