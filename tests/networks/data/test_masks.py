"""What a mask means, how it reaches the network, and what looks like padding without one."""

import re

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from dimscope.errors import BadSource
from dimscope.networks.data.batches import Batch
from dimscope.networks.data.masks import padding_without_mask
from dimscope.networks.tensors import tensors_in
from networks.data.given import (
    BERT,
    GPT,
    IDS,
    MASK,
    MASKED,
    NET,
    SECOND,
    SRC,
    WORDS,
    Items,
    N,
    Seen,
    T,
    X,
    Y,
    assert_same,
    encoder,
)


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        (TensorDataset(IDS, MASK), False),
        (TensorDataset(IDS, MASK, Y), True),
        (TensorDataset(IDS, MASK, Y.float()), True),
        (DataLoader(TensorDataset(IDS, MASK, Y), 32), True),
        (DataLoader(TensorDataset(IDS, MASK), 7), False),
        ((IDS, MASK), False),
        ((IDS, MASK, Y), True),
        ((IDS.numpy(), MASK.numpy(), WORDS), True),
        ((IDS, MASK.bool(), Y), True),
        ({"input_ids": IDS, "attention_mask": MASK}, False),
        ({"input_ids": IDS.tolist(), "attention_mask": MASK.tolist(), "labels": Y}, True),
        ({"attention_mask": MASK, "input_ids": IDS, "y": WORDS}, True),
        (transformers.BatchEncoding({"input_ids": IDS, "attention_mask": MASK}), False),
        ([transformers.BatchEncoding({"input_ids": IDS, "attention_mask": MASK})], False),
        ([{"input_ids": IDS[i : i + 9], "attention_mask": MASK[i : i + 9]}
          for i in range(0, N, 9)], False),
        ([(IDS[i : i + 9], MASK[i : i + 9]) for i in range(0, N, 9)], False),
        ([({"input_ids": IDS, "attention_mask": MASK}, Y)], True),
        (Items(lambda i: {"input_ids": IDS[i].tolist(), "attention_mask": MASK[i].tolist()}),
         False),
        (Items(lambda i: {"input_ids": IDS[i], "attention_mask": MASK[i], "label": WORDS[i],
                          "text": "so " * i, "idx": i}), True),
        (({"input_ids": IDS[i], "attention_mask": MASK[i]} for i in range(N)), False),
        ([{"input_ids": IDS[i].tolist(), "attention_mask": MASK[i].tolist(), "label": int(Y[i])}
          for i in range(N)], True),
    ],
)  # fmt: skip
def test_masks_reach_the_network(data, labelled):
    seen = Seen(BERT, data)
    assert_same(seen.output, MASKED)
    assert seen.text.startswith(("inputs: input_ids, att", "inputs: attention_mask, inp"))
    assert torch.equal(seen.mask("attention_mask"), MASK.bool())
    if labelled:
        assert seen.labels.tolist() in (Y.tolist(), WORDS)
        assert "; labels: " in seen.text
    else:
        assert all(batch.labels is None for batch in seen.batches)


@pytest.mark.parametrize("data", [(IDS, MASK), TensorDataset(IDS, MASK, Y)])
def test_mask_is_given_by_name_where_it_is_not_the_second_parameter(data):
    seen = Seen(GPT, data)
    assert_same(seen.output, GPT(IDS, attention_mask=MASK).last_hidden_state)
    assert seen.text.startswith("inputs: input_ids, attention_mask")


def test_text_names_what_is_not_used():
    fields = {
        "input_ids": IDS,
        "attention_mask": MASK,
        "y": Y,
        "idx": torch.arange(N),
        "text": WORDS,
    }
    assert Seen(BERT, fields).text == (
        "inputs: input_ids, attention_mask; labels: y; not used: idx, text"
    )
    assert Seen(BERT, (IDS, MASK, Y)).text == "inputs: input_ids, attention_mask; labels: item 3"
    assert Seen(NET, (X, SECOND)).text == (
        "inputs: input; no labels (item 2 has shape (n, 5): no class for each row)"
    )
    assert Seen(NET, (X, Y, torch.arange(N))).text == (
        "inputs: input; labels: item 2; not used: item 3"
    )


def test_second_item_of_ids_is_a_label_where_it_is_no_mask():
    seen = Seen(BERT, (IDS, Y))
    assert_same(seen.output, BERT(IDS).last_hidden_state)
    assert seen.labels.tolist() == Y.tolist()
    assert not seen.batches[0].masks


def test_zeros_and_ones_that_are_no_padding_are_refused():
    targets = torch.randint(0, 2, (N, T))
    with pytest.raises(BadSource, match=r"may be attention_mask or a target; give a dict"):
        Seen(BERT, (IDS, targets))


@pytest.mark.parametrize(
    "data",
    [
        (SRC, MASK == 0),
        TensorDataset(SRC, MASK == 0),
        {"src": SRC, "src_key_padding_mask": MASK == 0},
        [
            {
                "src": SRC,
                "src_key_padding_mask": torch.zeros(N, T).masked_fill(MASK == 0, -torch.inf),
            }
        ],
    ],
)
def test_key_padding_masks_are_true_at_padding(data):
    network = encoder()
    seen = Seen(network, data)
    assert_same(seen.output, network(SRC, MASK == 0))
    assert torch.equal(seen.mask("src_key_padding_mask"), MASK.bool())


def test_the_name_of_a_key_padding_mask_tells_where_its_values_do_not():
    pads = torch.zeros(N, T).bool()
    pads[::2, 0] = pads[1::2, -1] = True
    seen = Seen(encoder(), {"src": SRC, "src_key_padding_mask": pads})
    assert torch.equal(seen.mask("src_key_padding_mask"), ~pads)


class Averaged(nn.Module):
    def forward(self, x, mask):
        return (x * (mask > 0)[..., None]).mean(1)


@pytest.mark.parametrize("padding", [False, True])
def test_a_full_row_tells_which_value_of_a_mask_marks_padding(padding):
    mask = (MASK == 0) if padding else (MASK == 1)
    seen = Seen(Averaged(), {"x": SRC, "mask": mask}, batch_size=N)
    assert torch.equal(seen.mask("mask"), MASK.bool())
    assert_same(seen.output, Averaged()(SRC, mask))


def test_a_mask_whose_values_do_not_tell_is_refused():
    mask = torch.ones(N, T).bool()
    mask[::2, 0] = False
    mask[1::2, -1] = False
    with pytest.raises(BadSource, match=r"do not tell whether True marks padding; give mask="):
        Seen(Averaged(), {"x": SRC, "mask": mask})
    assert torch.equal(Seen(Averaged(), {"x": SRC, "mask": mask}, mask="mask").mask("mask"), mask)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, ids, src_key_padding_mask=None):
        return self.block(self.embed(ids), src_key_padding_mask=src_key_padding_mask)


@pytest.mark.parametrize(("field", "options"), [("m", {"mask": "m"}), ("attention_mask", {})])
def test_a_mask_of_another_name_is_given_to_the_network(field, options):
    network, lengths = Masked().eval(), [9, 4, 7, 2, 9, 5]
    real = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 50, (6, 9))
    batch = {"ids": ids * real, field: real.long()}
    found = ds.capture(network, batch, ["block"], readout="mean", **options)
    with torch.no_grad():
        wanted = [network(ids[i : i + 1, :n])[0].mean(0).numpy() for i, n in enumerate(lengths)]
    np.testing.assert_allclose(found["block"], wanted, rtol=1e-4, atol=1e-5)
    assert "src_key_padding_mask" in found.provenance.parameters["inputs"]


class TakesAll(nn.Module):
    """Takes the batch as it is."""

    def __init__(self):
        super().__init__()
        self.masked = Masked()

    def forward(self, batch):
        return self.masked(batch["input_ids"], batch["attention_mask"] == 0)


def test_padding_is_left_out_where_the_network_takes_the_whole_batch():
    network, lengths = TakesAll().eval(), [9, 4, 7, 2, 9, 5]
    real = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 50, (6, 9))
    batch = transformers.BatchEncoding({"input_ids": ids * real, "attention_mask": real.long()})
    found = ds.capture(network, [batch], ["masked.block"], readout="mean")
    with torch.no_grad():
        wanted = [
            network.masked(ids[i : i + 1, :n])[0].mean(0).numpy() for i, n in enumerate(lengths)
        ]
    np.testing.assert_allclose(found["masked.block"], wanted, rtol=1e-4, atol=1e-5)


def test_positions_are_given_from_a_mask_given_as_an_array():
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=8, n_layer=1, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    network, lengths = transformers.GPT2Model(config).eval(), [9, 4, 7, 2, 9, 5]
    real = torch.arange(9).flip(0)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 50, (6, 9))
    found = ds.capture(network, ids * real, ["h.0"], readout="last", mask=real)
    assert "position_ids: from attention_mask" in found.provenance.parameters["inputs"]
    seen = []
    handle = network.h[0].register_forward_hook(lambda *a: seen.append(a[-1]))
    with torch.no_grad():
        for row, mask in zip(ids, real, strict=True):
            network(row[mask][None])
    handle.remove()
    wanted = [(t[0] if isinstance(t, tuple) else t)[0, -1].numpy() for t in seen]
    np.testing.assert_allclose(found["h.0"], wanted, rtol=1e-4, atol=1e-5)


def padded(n=16, n_positions=9, pad=0, left=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 60, (n, n_positions), generator=generator)
    lengths = torch.randint(3, n_positions + 1, (n,), generator=generator)
    real = torch.arange(n_positions)[None] < lengths[:, None]
    ids = torch.where(real, ids, pad)
    return ids.flip(1) if left else ids


torch.manual_seed(0)
FLOATS = torch.randn(16, 9, 4) * (padded() > 0)[..., None]
IMAGES = torch.rand(16, 28, 28)
IMAGES[:, :4] = IMAGES[:, -4:] = 0
IMAGES[::2, -6:] = IMAGES[::2, :5] = 0


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (padded(), r"rows end in runs of id 0 of differing lengths \(0 to \d\)"),
        (padded(pad=77), "rows end in runs of id 77"),
        (padded(left=True), "rows begin in runs of id 0"),
        ({"input_ids": padded()}, "rows end in runs of id 0"),
        ((padded(), torch.arange(16) % 4), "rows end in runs of id 0"),
        (FLOATS, "rows end in runs of steps of zeros of differing lengths"),
        (FLOATS.flip(1), "rows begin in runs of steps of zeros"),
    ],
)
def test_padding_without_a_mask_is_described(inputs, text):
    assert re.match(text, padding_without_mask(Batch(inputs, None, 16)))


@pytest.mark.parametrize(
    "inputs",
    [
        torch.randint(3, 60, (16, 9)),
        torch.randint(0, 2, (64, 9)),  # binary sequences
        torch.randint(0, 2, (300, 40)),
        torch.cat([torch.randint(3, 60, (16, 8)), torch.full((16, 1), 2)], 1),  # all end in one
        torch.full((16, 9), 4),
        torch.randn(16, 9, 4),
        torch.randn(16, 9, 4).relu(),
        IMAGES,  # images with margins
        torch.rand(16, 3, 8, 8),
        torch.arange(32.0).reshape(16, 2),
        torch.arange(16) % 4,
        {"x": torch.randn(16, 9, 4), "attention_mask": (padded() > 0).long()},
    ],
)
def test_nothing_is_said_of_data_without_padding(inputs):
    assert padding_without_mask(Batch(inputs, None, len(next(tensors_in(inputs))))) is None


@pytest.mark.parametrize("n", [8, 64])
@pytest.mark.parametrize("n_positions", [4, 6, 12])
@pytest.mark.parametrize("n_ids", [5, 30, 100])
def test_random_ids_rarely_look_padded(n, n_positions, n_ids):
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, n_ids, (n, n_positions), generator=generator) for _ in range(200)]
    said = [padding_without_mask(Batch(ids, None, n)) for ids in batches]
    assert said.count(None) >= 198


def test_nothing_is_said_of_padding_with_a_mask():
    ids = padded()
    assert padding_without_mask(Batch(ids, None, 16, {"mask": ids > 0})) is None


def test_complex_inputs_do_not_look_padded():
    batch = Batch(torch.ones(4, 3, dtype=torch.complex64), None, 4)
    assert padding_without_mask(batch) is None


def test_blank_stimuli_do_not_look_padded():
    rows = torch.randn(16, 9, 5)
    rows[::3] = 0
    assert padding_without_mask(Batch(rows, None, 16)) is None
