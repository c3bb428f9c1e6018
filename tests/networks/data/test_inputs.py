"""How the data of a capture become calls of the network, compared with calls by hand."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset

import dimscope as ds
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.data.signature import Signature
from dimscope.networks.data.stream import open_batches
from dimscope.networks.options import CaptureOptions
from dimscope.networks.tensors import main_tensor, map_tensors, tensors_in

N, T, V = 40, 6, 30
torch.manual_seed(0)
X = torch.randn(N, 5)
SECOND = torch.randn(N, 5)
Y = torch.arange(N) % 3
TIME = torch.randint(0, 10, (N,))
IDS = torch.randint(3, V, (N, T))
LENGTHS = torch.cat([torch.tensor([T, 2]), torch.randint(2, T + 1, (N - 2,))])
MASK = (torch.arange(T)[None] < LENGTHS[:, None]).long()
ONE_HOT = nn.functional.one_hot(Y, 3)
WORDS = [("cat", "dog", "ape")[i % 3] for i in range(N)]


def cast(network, inputs):
    """Convert floats to the type of the weights."""
    kind = next((p.dtype for p in network.parameters() if p.is_floating_point()), None)
    return map_tensors(lambda t: t.to(kind) if t.is_floating_point() else t, inputs)


def attempting(network):
    """Run two rows and four rows as the user would, and compare."""

    def attempt(inputs, batch):
        rows = np.arange(4) % batch.n_rows
        outputs = []
        with torch.no_grad():
            try:
                for order in (rows[:2], rows[[2, 3, 1, 0]]):
                    output = inputs.call(network, cast(network, batch.take(order).inputs))
                    outputs.append(main_tensor(output)[0])
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        few, many = outputs
        if few is None:
            return None if inputs.layout.lists else "no tensor"
        if (len(few), len(many)) != (2, 4):
            return "the rows do not follow"
        return None if torch.allclose(many[[3, 2]], few, atol=1e-5) else "the rows are dependent"

    return attempt


class Seen:
    """All that a network gets from data, and what it returns."""

    def __init__(self, network, data, **options):
        network = network.eval()
        options = CaptureOptions(**options)
        stream = open_batches(data, options, Signature.of(network), attempting(network))
        self.stream, self.text = stream, stream.inputs.text
        self.batches = list(stream.after(0))
        with torch.no_grad():
            self.outputs = [
                main_tensor(stream.inputs.call(network, cast(network, batch.inputs)))[0]
                for batch in self.batches
            ]
        self.n_rows = sum(batch.n_rows for batch in self.batches)

    @property
    def output(self):
        return torch.cat(self.outputs)

    @property
    def labels(self):
        return np.concatenate([batch.labels for batch in self.batches])

    @property
    def ids(self):
        return np.concatenate([batch.ids for batch in self.batches])

    def mask(self, name):
        return torch.cat([batch.masks[name] for batch in self.batches])


def same(found, wanted):
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-5, atol=1e-6)


class Items(Dataset):
    def __init__(self, item, n=N):
        self.item, self.n = item, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return self.item(i)


def bert():
    torch.manual_seed(1)
    return transformers.BertModel(transformers.BertConfig(
        vocab_size=V, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8,
    )).eval()  # fmt: skip


def gpt():
    torch.manual_seed(1)
    return transformers.GPT2Model(
        transformers.GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=2, n_positions=16)
    ).eval()


BERT, GPT = bert(), gpt()
NET = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.t, self.c = nn.Linear(5, 8), nn.Embedding(10, 8), nn.Linear(8, 3)

    def forward(self, x, time):
        return self.c((self.a(x) + self.t(time)).relu())


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, first, second):
        return self.a(first) - self.b(second).relu()


# -- masks of language models -------------------------------------------------------------------

MASKED = BERT(IDS, attention_mask=MASK).last_hidden_state


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
    same(seen.output, MASKED)
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
    same(seen.output, GPT(IDS, attention_mask=MASK).last_hidden_state)
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
    same(seen.output, BERT(IDS).last_hidden_state)
    assert seen.labels.tolist() == Y.tolist()
    assert not seen.batches[0].masks


def test_zeros_and_ones_that_are_no_padding_are_refused():
    targets = torch.randint(0, 2, (N, T))
    with pytest.raises(BadSource, match=r"may be attention_mask or a target; give a dict"):
        Seen(BERT, (IDS, targets))


def encoder():
    torch.manual_seed(1)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

        def forward(self, src, src_key_padding_mask=None):
            return self.encoder(src, src_key_padding_mask=src_key_padding_mask)

    return Encoder().eval()


SRC = torch.randn(N, T, 8)


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
    same(seen.output, network(SRC, MASK == 0))
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
    same(seen.output, Averaged()(SRC, mask))


def test_a_mask_whose_values_do_not_tell_is_refused():
    mask = torch.ones(N, T).bool()
    mask[::2, 0] = False
    mask[1::2, -1] = False
    with pytest.raises(BadSource, match=r"do not tell whether True marks padding; give mask="):
        Seen(Averaged(), {"x": SRC, "mask": mask})
    assert torch.equal(Seen(Averaged(), {"x": SRC, "mask": mask}, mask="mask").mask("mask"), mask)


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        IDS,
        (IDS, Y),
        TensorDataset(IDS, Y),
        [IDS[:9], IDS[9:]],
        iter([(IDS[:9], Y[:9]), (IDS[9:], Y[9:])]),
        {"input_ids": IDS},
    ],
)
@pytest.mark.parametrize("mask", [MASK, MASK.numpy(), MASK.tolist(), MASK.bool()])
def test_mask_option_reaches_the_network_and_the_batch(data, mask):
    data = [(IDS[:9], Y[:9]), (IDS[9:], Y[9:])] if not hasattr(data, "__len__") else data
    seen = Seen(BERT, data, mask=mask)
    same(seen.output, MASKED)
    assert torch.equal(seen.mask("mask"), MASK.bool())
    assert "input_ids, attention_mask" in seen.text


def test_mask_option_follows_the_rows_drawn():
    seen = Seen(BERT, IDS, mask=MASK, ids=[f"s{i}" for i in range(N)], n_points=12, seed=3)
    rows = np.array([int(word[1:]) for word in seen.ids])
    assert len(rows) == 12
    assert torch.equal(seen.mask("mask"), MASK[rows].bool())
    same(seen.output, MASKED[rows])


def test_mask_option_names_a_field():
    fields = {"input_ids": IDS, "real": MASK, "labels": Y}
    seen = Seen(BERT, fields, mask="real")
    assert torch.equal(seen.mask("real"), MASK.bool())
    assert seen.text.endswith("; mask: real")
    with pytest.raises(BadSource, match=r"mask='pads' names no field of the batches; .* real"):
        Seen(BERT, fields, mask="pads")


def test_mask_option_of_an_inverted_parameter():
    network = encoder()
    same(Seen(network, SRC, mask=MASK).output, network(SRC, MASK == 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": MASK[:5]}, "mask has 5 rows, but the data have 40"),
        ({"ids": Y[:5]}, "ids has 5 rows, but the data have 40"),
        ({"ids": torch.rand(N)}, "ids holds floats such as"),
        ({"mask": torch.rand(N, T)}, "give one row for each stimulus with True"),
        ({"mask": torch.ones(N)}, "give one row for each stimulus with True"),
    ],
)
def test_options_of_other_lengths_and_types_are_refused(options, message):
    with pytest.raises(BadPoints, match=message):
        Seen(BERT, IDS, **options)


def test_options_with_fewer_rows_than_an_iterator_are_refused():
    with pytest.raises(BadPoints, match="ids has 5 rows, but the data have more"):
        Seen(NET, [X[:9], X[9:]], ids=np.arange(5))


@pytest.mark.parametrize(
    "data",
    [
        {"input": X, "idx": torch.arange(N) + 7},
        [{"input": X, "idx": torch.arange(N) + 7}],
        Items(lambda i: {"input": X[i], "idx": i + 7}),
    ],
)
def test_ids_option_names_a_field(data):
    seen = Seen(NET, data, ids="idx")
    assert seen.ids.tolist() == list(range(7, N + 7))
    assert seen.text == "inputs: input; ids: idx"


def test_ids_reach_the_activations():
    activations = ds.capture(NET, X, ids=WORDS)
    assert activations.ids.tolist() == WORDS
    assert ds.capture(NET, X).ids is None


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.rnn = nn.LSTM(8, 4)

    def forward(self, x, state=None):
        return self.rnn(x, state)[1][0][-1]


@pytest.mark.parametrize("kind", ["tensor", "labelled", "dict", "batches", "named"])
def test_batch_axis_of_data_that_are_time_first(kind):
    network, first = TimeFirst().eval(), SRC.transpose(0, 1).contiguous()
    data = {
        "tensor": first,
        "labelled": (first, Y),
        "dict": {"x": first, "labels": Y},
        "batches": [(first[:, :9], Y[:9]), (first[:, 9:], Y[9:])],
        "named": {"x": first, "label": Y},
    }[kind]
    axis = {"x": 1} if kind == "named" else 1
    seen = Seen(network, data, batch_axis=axis, batch_size=16)
    same(seen.output, network(first))
    assert seen.n_rows == N
    if kind != "tensor":
        assert seen.labels.tolist() == Y.tolist()
    assert seen.batches[0].take(np.array([3, 1])).inputs is not None


def test_batch_axis_leaves_masks_on_their_first_axis():
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    network = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    first = SRC.transpose(0, 1).contiguous()
    data = {"src": first, "src_key_padding_mask": MASK == 0}
    seen = Seen(network, data, batch_axis=1, batch_size=16)
    same(torch.cat(seen.outputs, dim=1), network(first, src_key_padding_mask=MASK == 0))
    taken = seen.batches[0].take(np.array([5, 5, 2]))
    same(taken.inputs["src"], first[:, [5, 5, 2]])
    assert torch.equal(taken.masks["src_key_padding_mask"], MASK[[5, 5, 2]].bool())


def test_batch_axis_outside_the_data_is_refused():
    with pytest.raises(BadSource, match=r"batch_axis is 2, but .* has shape \(40, 5\)"):
        Seen(NET, X, batch_axis=2)


# -- several inputs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        (X, SECOND),
        TensorDataset(X, SECOND),
        [(X[:9], SECOND[:9]), (X[9:], SECOND[9:])],
        DataLoader(TensorDataset(X, SECOND), 7),
        {"second": SECOND, "first": X},
        (X.numpy(), SECOND.numpy()),
        (X, SECOND, Y),
        TensorDataset(X, SECOND, Y),
        [((X, SECOND), Y)],
        [((X, SECOND), Y, TIME)],
        Items(lambda i: {"first": X[i], "second": SECOND[i], "word": "a"}),
        [(X[i], SECOND[i], int(Y[i])) for i in range(N)],
    ],
)
def test_two_inputs_reach_a_siamese_network(data):
    network = Siamese().eval()
    seen = Seen(network, data)
    same(seen.output, network(X, SECOND))
    assert seen.n_rows == N


@pytest.mark.parametrize(
    "data",
    [
        (X, TIME),
        TensorDataset(X, TIME),
        DataLoader(TensorDataset(X, TIME), 7),
        TensorDataset(X, TIME, Y),
        {"x": X, "time": TIME},
        {"time": TIME.tolist(), "x": X, "label": WORDS},
        Items(lambda i: (X[i], int(TIME[i]))),
        (X.numpy(), TIME.tolist()),
        [[X, TIME]],
    ],
)
def test_a_required_second_parameter_takes_integers(data):
    network = Timed().eval()
    seen = Seen(network, data)
    same(seen.output, network(X, TIME))
    assert set(seen.text.split("; ")[0].split(": ")[1].split(", ")) == {"x", "time"}


class Named(nn.Module):
    def forward(self, x, scale=2.0, *, lengths):
        return x * scale * lengths[:, None]


@pytest.mark.parametrize("data", [(X, TIME), TensorDataset(X, TIME, Y), {"x": X, "lengths": TIME}])
def test_a_parameter_that_only_has_a_name_is_given(data):
    seen = Seen(Named(), data)
    same(seen.output, X * 2 * TIME[:, None])
    assert seen.text.startswith("inputs: x, lengths")


def test_options_of_the_call_are_given():
    fields = {"input_ids": IDS, "output_hidden_states": True}
    seen = Seen(BERT, [fields])
    assert seen.batches[0].inputs["output_hidden_states"] is True
    assert seen.text == "inputs: input_ids, output_hidden_states"


def test_nothing_is_attempted_where_the_structure_says_it_all():
    def fails(inputs, batch):
        raise AssertionError("attempted")

    cases = [
        (NET, X), (NET, (X, Y)), (NET, TensorDataset(X, Y)), (NET, [(X, WORDS)] * 2), (NET, [X]),
        (NET, DataLoader(TensorDataset(X, Y), 7)), (NET, Items(lambda i: (X[i], WORDS[i]))),
        (BERT, TensorDataset(IDS, MASK)), (Siamese(), (X, Y)),
        (BERT, {"input_ids": IDS, "attention_mask": MASK}),
    ]  # fmt: skip
    for network, data in cases:
        stream = open_batches(data, CaptureOptions(), Signature.of(network), fails)
        assert stream.inputs.text.startswith("inputs: ")


class Maybe(nn.Module):
    """The second parameter is optional, and not named as a target or an option."""

    def __init__(self):
        super().__init__()
        self.a, self.t = nn.Linear(5, 4), nn.Embedding(10, 4)

    def forward(self, x, cond=None):
        return self.a(x) + (0 if cond is None else self.t(cond))


@pytest.mark.parametrize("data", [(X, TIME), TensorDataset(X, TIME), [(X, TIME)]])
def test_an_optional_parameter_that_may_take_the_labels_is_refused(data):
    with pytest.raises(BadSource, match=r"\{'x': ..., 'cond': ...\}"):
        Seen(Maybe(), data)


def test_the_calls_that_settle_an_optional_parameter_work():
    network = Maybe().eval()
    seen = Seen(network, {"x": X, "cond": TIME})
    same(seen.output, network(X, TIME))
    seen = Seen(network, {"x": X, "labels": TIME})
    same(seen.output, network(X))
    assert seen.labels.tolist() == TIME.tolist()
    seen = Seen(network, (X, TIME), forward=lambda model, x: model(x))
    same(seen.output, network(X))


def test_an_optional_parameter_does_not_take_what_fails():
    network = Maybe().eval()
    seen = Seen(network, (X, SECOND))  # an embedding takes no floats
    same(seen.output, network(X))
    assert Seen(network, (X, WORDS)).labels.tolist() == WORDS


@pytest.mark.parametrize("name", ["labels", "target", "y"])
def test_optional_targets_are_labels(name):
    class Trained(nn.Module):
        def forward(self, x, labels=None, target=None, y=None):
            assert labels is target is y is None
            return x * 2

    seen = Seen(Trained(), (X, Y))
    same(seen.output, X * 2)
    assert seen.labels.tolist() == Y.tolist()
    seen = Seen(Trained(), {"x": X, name: Y})
    same(seen.output, X * 2)
    assert seen.labels.tolist() == Y.tolist()


def test_required_labels_are_given():
    class Own(nn.Module):
        def forward(self, input_ids, labels):
            return input_ids.float() + labels[:, None]

    for data in ({"input_ids": IDS, "labels": Y}, [{"input_ids": IDS, "labels": Y}], (IDS, Y)):
        seen = Seen(Own(), data)
        same(seen.output, IDS.float() + Y[:, None])
        assert seen.labels.tolist() == Y.tolist()


def test_labels_are_given_where_the_network_fails_without():
    torch.manual_seed(1)
    t5 = transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=V, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0, tie_word_embeddings=True,
    )).eval()  # fmt: skip
    targets = IDS[:, :4]
    seen = Seen(t5, [{"input_ids": IDS, "labels": targets}])
    wanted = t5(input_ids=IDS, labels=targets.contiguous())
    assert seen.text.startswith("inputs: input_ids, labels")
    same(seen.batches[0].inputs["labels"], targets)
    same(seen.stream.inputs.call(t5, seen.batches[0].inputs).logits, wanted.logits)


def test_too_few_items_are_refused():
    with pytest.raises(BadSource, match=r"forward\(x, time\) needs x, time"):
        Seen(Timed(), X)
    with pytest.raises(BadSource, match=r"forward\(x, time\) needs time"):
        Seen(Timed(), {"x": X, "t": TIME})
    with pytest.raises(BadSource, match=r"holds 2 items, but forward\(src, tgt, n\) needs"):
        Seen(type("Three", (nn.Module,), {"forward": lambda self, src, tgt, n: src})(), (X, SECOND))


class Whole(nn.Module):
    """Takes a batch whole, by names or by attributes."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(5, 4)

    def forward(self, batch):
        x, shift = (
            (batch["x"], batch["shift"])
            if isinstance(batch, dict | transformers.BatchEncoding)
            else (batch.x, batch.shift)
        )
        return self.a(x) + shift


class Fields(NamedTuple):
    x: torch.Tensor
    shift: torch.Tensor


class Labelled(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


@dataclasses.dataclass
class Record:
    x: torch.Tensor
    shift: torch.Tensor
    y: torch.Tensor | None = None


class Plain:
    def __init__(self, x, shift):
        self.x, self.shift = x, shift


SHIFT = torch.randn(N, 4)


@pytest.mark.parametrize(
    "data",
    [
        [Fields(X, SHIFT)],
        Items(lambda i: Fields(X[i], SHIFT[i])),
        Fields(X, SHIFT),
        DataLoader(Items(lambda i: Fields(X[i], SHIFT[i])), 7),
        [Record(X, SHIFT)],
        Items(lambda i: Record(X[i], SHIFT[i])),
        [Plain(X, SHIFT)],
        [type("Data", (), {"x": X, "shift": SHIFT})()],
        {"x": X, "shift": SHIFT},
        [{"x": X, "shift": SHIFT}],
        [transformers.BatchEncoding({"x": X, "shift": SHIFT})],
        [(Fields(X, SHIFT), Y)],
        [{"batch": Fields(X, SHIFT)}],
        [{"x": X, "shift": SHIFT, "label": Y}],
        Items(lambda i: {"x": X[i].numpy(), "shift": SHIFT[i].numpy(), "text": "so " * i}),
        [Fields(X[:9], SHIFT[:9]), Fields(X[9:], SHIFT[9:])],
    ],
)
def test_a_network_takes_a_batch_whole(data):
    network = Whole().eval()
    same(Seen(network, data).output, network(Fields(X, SHIFT)))


@pytest.mark.parametrize(
    "data",
    [
        Items(lambda i: Fields(X[i], SHIFT[i])),
        [Record(X, SHIFT)],
        [{"x": X, "shift": SHIFT}],
        Fields(X, SHIFT),
    ],
)
def test_a_forward_function_gets_a_batch_whole(data):
    network = Whole().eval()
    seen = Seen(network, data, forward=lambda model, batch: model(batch))
    same(seen.output, network(Fields(X, SHIFT)))


class Apart(nn.Module):
    def forward(self, x, shift):
        return x[:, :4] + shift


class Own(NamedTuple):
    one: torch.Tensor
    two: torch.Tensor


@pytest.mark.parametrize(
    "data",
    [
        [Fields(X, SHIFT)],
        Items(lambda i: Fields(X[i], SHIFT[i])),
        [Own(X, SHIFT)],
        [Record(X, SHIFT)],
        [Plain(X, SHIFT)],
    ],
)
def test_fields_become_parameters(data):
    same(Seen(Apart(), data).output, X[:, :4] + SHIFT)


@pytest.mark.parametrize(
    "data",
    [
        [Labelled(X, Y)],
        Items(lambda i: Labelled(X[i], Y[i])),
        DataLoader(Items(lambda i: Labelled(X[i], Y[i])), 7),
    ],
)
def test_named_tuples_hold_labels(data):
    seen = Seen(NET, data)
    same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()


@pytest.mark.parametrize(
    "data",
    [
        {"image": X, "label": Y},
        [{"image": X, "label": Y}],
        Items(lambda i: {"image": X[i], "label": int(Y[i])}),
        {"pixels": X.numpy(), "label": Y.numpy(), "file": WORDS},
        [{"x": X, "targets": Y.tolist()}],
        [({"x": X}, Y)],
    ],
)
def test_the_only_tensor_of_a_dict_goes_in(data):
    seen = Seen(NET, data)
    same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()


def test_fields_that_are_not_parameters_are_given_only_if_needed():
    class Needs(nn.Module):
        def forward(self, x, **more):
            return x[:, :4] + more["shift"]

    seen = Seen(Needs(), {"x": X, "shift": SHIFT})
    same(seen.output, X[:, :4] + SHIFT)
    assert seen.text == "inputs: x, shift"


# -- networks without a signature ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_scripted_networks_take_their_inputs():
    network = torch.jit.script(Siamese().eval())
    same(Seen(network, (X, SECOND)).output, network(X, SECOND))
    seen = Seen(torch.jit.script(NET), (X, Y))
    same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()


class Any(nn.Module):
    def __init__(self, inner, other=None):
        super().__init__()
        self.inner, self.other = inner, other or nn.Identity()

    def forward(self, *args):
        return self.inner(*args)


def test_networks_of_unknown_parameters_get_what_works():
    network = Siamese().eval()
    same(Seen(Any(network), (X, SECOND)).output, network(X, SECOND))
    seen = Seen(Any(NET), (X, Y))
    same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()


def test_networks_of_unknown_parameters_that_take_both_are_refused():
    with pytest.raises(BadSource, match="give forward=, a function"):
        Seen(Any(Maybe()), (X, TIME))


# -- batches of another structure ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([(X, Y), X], "batch 2 is a Tensor, but the first batch is a tuple of 2"),
        ([(X, Y), (X, Y), (X,)], "batch 3 is a tuple of 1"),
        ([{"input": X}, {"input": X, "labels": Y}], "batch 2 is a dict of input, labels"),
        ([{"input": X, "label": Y}, {"input": X, "labels": Y}], "batch 2 is a dict of input, lab"),
    ],
)
def test_a_batch_of_another_structure_is_refused_by_number(data, message):
    with pytest.raises(BadSource, match=message):
        Seen(NET, data)


# -- single stimuli --------------------------------------------------------------------------------

CONV = nn.Sequential(
    nn.Conv2d(3, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)
).eval()
FULLY = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
IMAGES = torch.rand(N, 3, 8, 8)


@pytest.mark.parametrize("network", [CONV, FULLY], ids=["pooled", "convolutions"])
@pytest.mark.parametrize(
    "data",
    [
        lambda: list(IMAGES),
        lambda: iter(list(IMAGES)),
        lambda: tuple(IMAGES),
        lambda: DataLoader(TensorDataset(IMAGES), batch_size=None),
        lambda: [im.numpy() for im in IMAGES],
        lambda: [(im,) for im in IMAGES],
        lambda: [(im, 1) for im in IMAGES],
        lambda: ((im, torch.tensor(1)) for im in IMAGES),
        lambda: [(im, "cat") for im in IMAGES],
        lambda: DataLoader(TensorDataset(IMAGES, Y), batch_size=None),
        lambda: [{"input": im} for im in IMAGES],
        lambda: [{"input": im, "label": 1} for im in IMAGES],
        lambda: DataLoader(Items(lambda i: (IMAGES[i], int(Y[i]), i)), batch_size=None),
    ],
)
def test_single_images_are_stacked(network, data):
    seen = Seen(network, data(), batch_size=16)
    same(seen.output, network(IMAGES))
    assert [batch.n_rows for batch in seen.batches] == [16, 16, 8]
    assert seen.text.endswith("; stacked in batches of 16")


@pytest.mark.parametrize(
    "data",
    [
        lambda: (row for row in X),
        lambda: list(X),
        lambda: DataLoader(TensorDataset(X), batch_size=None),
        lambda: [row.tolist() for row in X],
        lambda: [(row, 0.5) for row in X],
        lambda: map(np.array, X.tolist()),
    ],
)
def test_single_vectors_are_stacked(data):
    seen = Seen(NET, data())
    same(seen.output, NET(X))
    assert seen.n_rows == N


@pytest.mark.parametrize(
    "data",
    [
        [X[:20], X[20:]],
        [X[:9], X[9:18], X[18:]],
        list(X.split(5)),
        [X],
        iter(X.split(8)),
        [X.numpy()],
        DataLoader(TensorDataset(X.reshape(5, 8, 5)), batch_size=None),
        [(x,) for x in X.split(4)],
        [[X, Y]],
        [(X[:20], Y[:20]), (X[20:], Y[20:])],
    ],
)
def test_batches_of_vectors_stay_batches(data):
    seen = Seen(NET, data)
    same(seen.output.reshape(N, 3), NET(X))
    assert seen.n_rows == N
    assert "stacked" not in seen.text


class Recurrent(nn.Module):
    """Takes a single sequence too, whose steps it would return as rows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.rnn = nn.LSTM(8, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


def test_single_sequences_are_not_batches_of_steps():
    network = Recurrent().eval()
    seen = Seen(network, list(SRC))
    same(seen.output, network(SRC))
    assert seen.n_rows == N


def test_ragged_sequences_run_one_at_a_time():
    network = Recurrent().eval()
    data = [SRC[i, : LENGTHS[i]] for i in range(N)]
    for each in (data, iter(data), Items(lambda i: data[i])):
        seen = Seen(network, each)
        assert seen.n_rows == N
        assert seen.text.endswith("; one at a time")
        for output, sequence in zip(seen.outputs, data, strict=True):
            same(output, network(sequence[None]))


def test_ragged_texts_run_one_at_a_time_without_padding():
    texts = [IDS[i, : LENGTHS[i]].tolist() for i in range(N)]
    items = Items(lambda i: {"input_ids": texts[i], "attention_mask": [1] * len(texts[i])})
    for data in (items, {"input_ids": texts}, [{"input_ids": text} for text in texts]):
        seen = Seen(BERT, data)
        assert seen.n_rows == N
        for output, text in zip(seen.outputs, texts, strict=True):
            same(output, BERT(torch.tensor([text])).last_hidden_state)


def test_texts_of_another_length_in_a_later_batch_name_the_collator():
    texts = [IDS[i].tolist() if i < 33 else IDS[i, :3].tolist() for i in range(N)]
    texts[-1] = texts[0]
    with pytest.raises(BadSource, match="DataCollatorWithPadding"):
        Seen(BERT, Items(lambda i: {"input_ids": texts[i]}))


@pytest.mark.parametrize("data", [(IDS, IDS), (SRC, SRC), (X, X), (X, SECOND, X)])
def test_a_tuple_of_equal_arrays_is_never_a_series_of_batches(data):
    class First(nn.Module):
        def forward(self, x):
            return x.float().reshape(len(x), -1)

    seen = Seen(First(), data)
    assert seen.n_rows == N
    same(seen.output, data[0].float().reshape(N, -1))


def test_one_hot_labels_as_long_as_the_channels_do_not_make_channels_rows():
    data = [(image, ONE_HOT[i]) for i, image in enumerate(IMAGES)]
    for network in (CONV, FULLY):
        seen = Seen(network, data)
        same(seen.output, network(IMAGES))
        assert seen.labels.tolist() == Y.tolist()


def test_labelled_batches_of_sequences_stay_batches():
    network = nn.Linear(8, 3)  # takes any number of axes
    seen = Seen(network, [(SRC[:20], Y[:20]), (SRC[20:], Y[20:])])
    same(seen.output, network(SRC))
    assert seen.labels.tolist() == Y.tolist()


def test_batches_of_images_stay_batches():
    for data in (list(IMAGES.split(8)), [*zip(IMAGES.split(8), Y.split(8), strict=True)]):
        for network in (CONV, FULLY):
            seen = Seen(network, data)
            same(seen.output, network(IMAGES))
            assert len(seen.batches) == 5


def test_fields_that_nothing_takes_are_refused_by_name():
    with pytest.raises(BadSource, match=r"holds the fields a, b, which are not the param.*input"):
        Seen(NET, {"a": X, "b": SECOND})


def test_items_that_are_taken_as_batches_and_as_stimuli_are_refused():
    with pytest.raises(BadSource, match=r"torch\.stack\(data\) if each is one .* \[batch\]"):
        Seen(nn.ReLU(), list(IMAGES))
    seen = Seen(nn.ReLU(), [IMAGES[0]])  # a list of one batch
    assert seen.n_rows == 3


def test_single_stimuli_that_fit_nothing_are_refused():
    with pytest.raises(BadSource, match=r"torch\.stack"):
        Seen(nn.Linear(7, 2), list(X))


# -- lists of images, packed sequences, graphs -----------------------------------------------------


class Detector(nn.Module):
    def forward(self, images: list[torch.Tensor], targets=None):
        assert isinstance(images, list)
        assert targets is None
        return torch.stack([image.mean(dim=(1, 2)) for image in images])


class Untyped(Detector):
    def forward(self, images, targets=None):
        return super().forward(images, targets)


SIZED = [torch.rand(3, 8 + i % 3, 9) for i in range(N)]
TARGETS = [{"boxes": torch.rand(i % 3, 4), "labels": torch.ones(i % 3).long()} for i in range(N)]
MEANS = torch.stack([image.mean(dim=(1, 2)) for image in SIZED])


def pairs(size):
    return DataLoader(
        Items(lambda i: (SIZED[i], TARGETS[i])),
        size,
        collate_fn=lambda b: tuple(zip(*b, strict=True)),
    )


@pytest.mark.parametrize("network", [Detector(), Untyped()], ids=["typed", "untyped"])
@pytest.mark.parametrize(
    "data",
    [
        lambda: pairs(7),
        lambda: [(SIZED, TARGETS)],
        lambda: Items(lambda i: (SIZED[i], TARGETS[i])),
        lambda: Items(lambda i: SIZED[i]),
        lambda: [SIZED],
        lambda: [SIZED[:9], SIZED[9:]],
        lambda: DataLoader(Items(lambda i: SIZED[i]), 7, collate_fn=list),
    ],
)
def test_detectors_get_lists_of_images(network, data):
    seen = Seen(network, data())
    same(seen.output, MEANS)
    assert seen.n_rows == N
    taken = seen.batches[0].take(np.array([2, 2, 0]))
    assert [image.shape for image in taken.inputs] == [SIZED[i].shape for i in (2, 2, 0)]


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.rnn = nn.GRU(8, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[1][-1]


def test_packed_sequences_are_rows_of_sequences():
    network = Packed().eval()
    sequences = [SRC[i, : LENGTHS[i]] for i in range(N)]
    wanted = torch.cat([network(sequence[None]) for sequence in sequences])
    packed = pack_sequence(sequences, enforce_sorted=False)
    for data in ([packed], packed, [(packed, Y)]):
        seen = Seen(network, data, batch_size=16)
        same(seen.output, wanted)
        assert seen.n_rows == N
    some = seen.batches[0].take(np.array([4, 1, 4]))
    assert some.n_rows == 3
    padded, lengths = pad_packed_sequence(some.inputs, batch_first=True)
    assert lengths.tolist() == [len(sequences[i]) for i in (4, 1, 4)]
    same(padded[1, : lengths[1]], sequences[1])


class Graph:
    """As a batch of torch_geometric: nodes, edges, and the graph of each node."""

    def __init__(self, x, edge_index, batch, y):
        self.x, self.edge_index, self.batch, self.y = x, edge_index, batch, y


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.a = nn.Linear(5, 4)

    def forward(self, x, edge_index, batch):
        h = self.a(x)
        h = torch.zeros_like(h).index_add(0, edge_index[1], h[edge_index[0]]) + h
        n_graphs = int(batch.max()) + 1
        return torch.zeros(n_graphs, 4).index_add(0, batch, h).relu()


class OfObject(Convolved):
    def forward(self, data):
        return super().forward(data.x, data.edge_index, data.batch)


def graphs(n=12):
    """Graphs that are paths, of differing lengths."""
    generator = torch.Generator().manual_seed(0)
    sizes = [2 + i % 4 for i in range(n)]
    return [
        (torch.randn(size, 5, generator=generator),
         torch.stack([torch.arange(size - 1), torch.arange(1, size)]))
        for size in sizes
    ]  # fmt: skip


def joined(some):
    shift, xs, edges, batch = 0, [], [], []
    for number, (x, edge) in enumerate(some):
        xs.append(x)
        edges.append(edge + shift)
        batch.append(torch.full((len(x),), number))
        shift += len(x)
    return torch.cat(xs), torch.cat(edges, 1), torch.cat(batch)


def alone(network):
    return torch.cat([network(*joined([graph])) for graph in graphs()])


@pytest.mark.parametrize("kind", ["object", "arguments", "keywords", "tuple", "labelled"])
def test_rows_of_graphs_are_graphs(kind):
    x, edges, batch = joined(graphs())
    y = torch.arange(12) % 2
    network = OfObject() if kind == "object" else Convolved()
    data = {
        "object": [Graph(x, edges, batch, y)],
        "arguments": [(x, edges, batch)],
        "keywords": [{"x": x, "edge_index": edges, "batch": batch, "y": y}],
        "tuple": (x, edges, batch),
        "labelled": [(x, edges, batch, y)],
    }[kind]
    seen = Seen(network.eval(), data)
    same(seen.output, alone(Convolved()))
    assert seen.n_rows == 12
    if kind not in ("arguments", "tuple"):
        assert seen.labels.tolist() == y.tolist()
    taken = seen.batches[0].take(np.array([7, 0, 7]))
    with torch.no_grad():
        same(seen.stream.inputs.call(network, taken.inputs), alone(Convolved())[[7, 0, 7]])


@pytest.mark.parametrize("kind", ["loader", "batch", "list", "whole"])
def test_graphs_of_torch_geometric(kind):
    geometric = pytest.importorskip("torch_geometric")
    data = [geometric.data.Data(x=x, edge_index=e, y=torch.tensor([i % 2]))
            for i, (x, e) in enumerate(graphs())]  # fmt: skip
    batch = geometric.data.Batch.from_data_list(data)
    given = {
        "loader": geometric.loader.DataLoader(data, 5),
        "batch": [batch],
        "whole": batch,
        "list": data,
    }[kind]
    network = OfObject().eval()
    seen = Seen(network, given)
    same(seen.output, alone(Convolved()))
    assert seen.labels.tolist() == [i % 2 for i in range(12)]
    taken = seen.batches[0].take(np.array([3, 1, 1]))
    with torch.no_grad():
        same(seen.stream.inputs.call(network, taken.inputs), alone(Convolved())[[3, 1, 1]])


def test_a_graph_without_a_batch_vector_is_refused():
    x, edges, _ = joined(graphs())
    with pytest.raises(BadSource, match="no vector `batch`"):
        Seen(Whole(), [{"x": x, "edge_index": edges}])


# -- labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        Items(lambda i: (X[i], WORDS[i])),
        DataLoader(Items(lambda i: (X[i], WORDS[i])), 32),
        Items(lambda i: {"input": X[i], "label": WORDS[i]}),
        (X, WORDS),
        (X, tuple(WORDS)),
        (X, np.array(WORDS, object)),
        (X, np.array(WORDS)),
        (X, pd.Series(WORDS)),
        (X, pd.Categorical(WORDS)),
        (X, np.array([word.encode() for word in WORDS])),
        (X, [word.encode() for word in WORDS]),
        Items(lambda i: (X[i], WORDS[i].encode())),
        {"input": X, "labels": WORDS},
        [(X, WORDS)],
        [(X, tuple(WORDS))],
        [{"input": X, "label": np.array(WORDS, object)}],
        Items(lambda i: (X[i], WORDS[i], i)),
        (pd.DataFrame(X.numpy()), pd.Series(WORDS, index=range(5, N + 5))),
    ],
)
def test_words_are_labels(data):
    seen = Seen(NET, data)
    same(seen.output, NET(X))
    assert seen.labels.tolist() == WORDS
    assert seen.labels.dtype.kind == "U"


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X, Y.int()),
        (X, Y.double()),
        (X, Y.half()),
        (X, Y.tolist()),
        (X, Y[:, None]),
        (X, Y.numpy().astype(">i4")),
        (X, pd.Series(Y.numpy())),
        (X, pd.Series(Y.numpy(), index=range(9, N + 9))),
        (X, Y.float()[:, None]),
        (X, ONE_HOT),
        (X, ONE_HOT.double()),
        (X, ONE_HOT.bool()),
        TensorDataset(X, ONE_HOT),
        Items(lambda i: (X[i], int(Y[i]), i)),
        Items(lambda i: (X[i], Y[i : i + 1])),
        Items(lambda i: (X[i], float(Y[i]))),
        Items(lambda i: {"input": X[i], "target": int(Y[i])}),
        Items(lambda i: {"input": X[i], "y": Y[i]}),
        DataLoader(TensorDataset(X, Y.float()), 7),
        [(X, Y.bfloat16())],
        [(X, list(Y))],
    ],
)
def test_numbers_are_labels(data):
    seen = Seen(NET, data)
    same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()
    assert seen.labels.dtype.kind == "i"


def test_one_hot_labels_are_stated():
    assert Seen(NET, (X, ONE_HOT)).text == "inputs: input; labels: item 2 (one-hot)"


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (Y / 7, r"item 2 holds floats such as 0\.1429: no classes"),
        (torch.where(Y == 0, torch.nan, Y.double()), "item 2 holds nan, a missing value"),
        (ONE_HOT.flip(0) | ONE_HOT, "has rows with 2 ones: no single class"),
        (torch.rand(N, 3), r"item 2 has shape \(n, 3\): no class for each row"),
        (torch.rand(N, 3, 4), "no class for each row"),
        (np.array([None, *WORDS[1:]], object), "item 2 holds None, a missing value"),
        (np.array(["2020-01-01"] * N, "datetime64[D]"), "datetime64.* values: no classes"),
        (np.array([b"\xff"] * N), "bytes that are not text"),
    ],
)
def test_labels_that_are_no_classes_say_why(labels, reason):
    seen = Seen(NET, (X, labels))
    assert any(batch.labels is None for batch in seen.batches)
    with pytest.raises(BadPoints, match=f"by_class needs labels, but .*{reason}"):
        ds.profile(NET, (X, labels), by_class=True)
    with pytest.raises(BadPoints, match="per_class needs labels, but item 2"):
        ds.profile(NET, (X, labels), per_class=2)


@pytest.mark.parametrize(
    "data",
    [
        Items(lambda i: (X[i], WORDS[i])),
        (X, WORDS),
        {"input": X, "label": WORDS},
        TensorDataset(X, Y.double()),
        TensorDataset(X, ONE_HOT),
        (X, Y[:, None]),
        Items(lambda i: (X[i], int(Y[i]), i)),
        Items(lambda i: {"input": X[i], "target": int(Y[i])}),
        [(X, WORDS)],
        Items(lambda i: (X[i], WORDS[i].encode())),
    ],
)
def test_per_class_draws_from_labels_of_every_type(data):
    seen = Seen(NET, data, per_class=4)
    assert np.unique(seen.labels, return_counts=True)[1].tolist() == [4, 4, 4]


def test_per_class_of_several_inputs_uses_the_item_after_them():
    seen = Seen(Siamese(), TensorDataset(X, SECOND, Y), per_class=4)
    assert np.unique(seen.labels, return_counts=True)[1].tolist() == [4, 4, 4]


def test_labels_of_a_forward_function():
    for name in ("label", "labels", "target", "y"):
        seen = Seen(NET, Items(lambda i, name=name: {"x": X[i], name: int(Y[i])}),
                    forward=lambda m, b: m(b["x"]))  # fmt: skip
        same(seen.output, NET(X))
        assert seen.labels.tolist() == Y.tolist()


# -- arrays of other kinds ------------------------------------------------------------------------

ARRAY = X.double().numpy()


@pytest.mark.parametrize(
    "array",
    [
        ARRAY.astype(">f4"),
        ARRAY.astype(">f8"),
        pd.DataFrame(ARRAY),
        ARRAY.astype("f4")[:, ::-1][:, ::-1],
        np.asfortranarray(ARRAY),
    ],
)
@pytest.mark.parametrize("form", ["alone", "labelled", "dict", "batches", "items"])
def test_arrays_of_other_kinds_are_measured(array, form):
    data = {
        "alone": array,
        "labelled": (array, Y.numpy()),
        "dict": {"input": array},
        "batches": [(array, Y)],
        "items": Items(lambda i: np.asarray(array)[i].astype(">f4")),
    }[form]
    network = nn.Sequential(nn.Linear(5, 3)).double()
    if form == "items":
        network.float()
    found = Seen(network, data) if form != "items" and array is not None else None
    if found is not None and next(tensors_in(found.batches[0].inputs)).dtype == torch.float64:
        same(found.output, network(X.double()))
    activations = ds.capture(network, data, ["output"])
    np.testing.assert_allclose(
        activations["output"], network(X.to(network[0].weight.dtype)).detach(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ARRAY.astype(np.longdouble), r"float128; convert them with points\.astype\('float64'\)"),
        (np.ma.masked_array(ARRAY, ARRAY > 1), "a masked array; drop the masked rows first"),
        (np.array([["a"]] * N), "values, not numbers"),
    ],
)
def test_arrays_that_cannot_be_measured_are_refused_as_by_estimate(array, message):
    for data in (array, (array, Y), {"input": array}, Items(lambda i: array[i])):
        if array.dtype.kind == "U" and not isinstance(data, np.ndarray | tuple):
            continue
        with pytest.raises(BadPoints, match=message):
            Seen(NET, data)


def test_ids_as_an_array_beside_a_dict_of_inputs():
    batch = {"input": torch.randn(6, 3), "label": torch.arange(6)}
    found = ds.capture(nn.Linear(3, 2), batch, ids=np.arange(6)[::-1].copy())
    assert found.ids.tolist() == [5, 4, 3, 2, 1, 0]


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x, edge_index, batch):
        pooled = torch.zeros(int(batch.max()) + 1, 3).index_add_(0, batch, x)
        return self.fc(pooled)


def test_graphs_in_a_tuple_beside_their_labels():
    x, batch = torch.randn(9, 3), torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3])
    edges = torch.tensor([[0, 2, 3, 6], [1, 3, 4, 7]])
    found = ds.capture(network := Pooled(), [((x, edges, batch), torch.arange(4))], "output")
    with torch.no_grad():
        wanted = network(x, edges, batch)
    np.testing.assert_allclose(found["output"], wanted, rtol=1e-5)
    assert found.labels.tolist() == [0, 1, 2, 3]


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


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.parametrize("form", [lambda t: t, lambda t: [t, t]])
def test_nested_tensors_are_refused_with_what_to_give(form, layout):
    nested = torch.nested.nested_tensor([torch.randn(n, 3) for n in (4, 2, 5)], layout=layout)
    with pytest.raises(BadSource, match=r"\[part\[None\] for part in nested"):
        ds.capture(nn.Linear(3, 2), form(nested), readout="mean")
    parts = [part[None] for part in nested.unbind()]
    assert ds.capture(nn.Linear(3, 2), parts, readout="mean")["output"].shape == (3, 2)
