"""How the data of a capture become calls of the network, compared with calls by hand."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.data.signature import Signature
from dimscope.networks.data.stream import open_batches
from dimscope.networks.options import CaptureOptions
from networks.data.given import (
    BERT,
    IDS,
    LENGTHS,
    MASK,
    MASKED,
    NET,
    SECOND,
    SRC,
    TIME,
    WORDS,
    Items,
    N,
    Seen,
    Siamese,
    T,
    Timed,
    V,
    Whole,
    X,
    Y,
    assert_same,
    encoder,
)


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
    assert_same(seen.output, MASKED)
    assert torch.equal(seen.mask("mask"), MASK.bool())
    assert "input_ids, attention_mask" in seen.text


def test_mask_option_follows_the_rows_drawn():
    seen = Seen(BERT, IDS, mask=MASK, ids=[f"s{i}" for i in range(N)], n_points=12, seed=3)
    rows = np.array([int(word[1:]) for word in seen.ids])
    assert len(rows) == 12
    assert torch.equal(seen.mask("mask"), MASK[rows].bool())
    assert_same(seen.output, MASKED[rows])


def test_mask_option_names_a_field():
    fields = {"input_ids": IDS, "real": MASK, "labels": Y}
    seen = Seen(BERT, fields, mask="real")
    assert torch.equal(seen.mask("real"), MASK.bool())
    assert seen.text.endswith("; mask: real")
    with pytest.raises(BadSource, match=r"mask='pads' names no field of the batches; .* real"):
        Seen(BERT, fields, mask="pads")


def test_mask_option_of_an_inverted_parameter():
    network = encoder()
    assert_same(Seen(network, SRC, mask=MASK).output, network(SRC, MASK == 0))


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
    assert_same(seen.output, network(first))
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
    assert_same(torch.cat(seen.outputs, dim=1), network(first, src_key_padding_mask=MASK == 0))
    taken = seen.batches[0].take(np.array([5, 5, 2]))
    assert_same(taken.inputs["src"], first[:, [5, 5, 2]])
    assert torch.equal(taken.masks["src_key_padding_mask"], MASK[[5, 5, 2]].bool())


def test_batch_axis_outside_the_data_is_refused():
    with pytest.raises(BadSource, match=r"batch_axis is 2, but .* has shape \(40, 5\)"):
        Seen(NET, X, batch_axis=2)


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
    assert_same(seen.output, network(X, SECOND))
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
    assert_same(seen.output, network(X, TIME))
    assert set(seen.text.split("; ")[0].split(": ")[1].split(", ")) == {"x", "time"}


class Named(nn.Module):
    def forward(self, x, scale=2.0, *, lengths):
        return x * scale * lengths[:, None]


@pytest.mark.parametrize("data", [(X, TIME), TensorDataset(X, TIME, Y), {"x": X, "lengths": TIME}])
def test_a_parameter_that_only_has_a_name_is_given(data):
    seen = Seen(Named(), data)
    assert_same(seen.output, X * 2 * TIME[:, None])
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
    assert_same(seen.output, network(X, TIME))
    seen = Seen(network, {"x": X, "labels": TIME})
    assert_same(seen.output, network(X))
    assert seen.labels.tolist() == TIME.tolist()
    seen = Seen(network, (X, TIME), forward=lambda model, x: model(x))
    assert_same(seen.output, network(X))


def test_an_optional_parameter_does_not_take_what_fails():
    network = Maybe().eval()
    seen = Seen(network, (X, SECOND))  # an embedding takes no floats
    assert_same(seen.output, network(X))
    assert Seen(network, (X, WORDS)).labels.tolist() == WORDS


@pytest.mark.parametrize("name", ["labels", "target", "y"])
def test_optional_targets_are_labels(name):
    class Trained(nn.Module):
        def forward(self, x, labels=None, target=None, y=None):
            assert labels is target is y is None
            return x * 2

    seen = Seen(Trained(), (X, Y))
    assert_same(seen.output, X * 2)
    assert seen.labels.tolist() == Y.tolist()
    seen = Seen(Trained(), {"x": X, name: Y})
    assert_same(seen.output, X * 2)
    assert seen.labels.tolist() == Y.tolist()


def test_required_labels_are_given():
    class Own(nn.Module):
        def forward(self, input_ids, labels):
            return input_ids.float() + labels[:, None]

    for data in ({"input_ids": IDS, "labels": Y}, [{"input_ids": IDS, "labels": Y}], (IDS, Y)):
        seen = Seen(Own(), data)
        assert_same(seen.output, IDS.float() + Y[:, None])
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
    assert_same(seen.batches[0].inputs["labels"], targets)
    assert_same(seen.stream.inputs.call(t5, seen.batches[0].inputs).logits, wanted.logits)


def test_too_few_items_are_refused():
    with pytest.raises(BadSource, match=r"forward\(x, time\) needs x, time"):
        Seen(Timed(), X)
    with pytest.raises(BadSource, match=r"forward\(x, time\) needs time"):
        Seen(Timed(), {"x": X, "t": TIME})
    with pytest.raises(BadSource, match=r"holds 2 items, but forward\(src, tgt, n\) needs"):
        Seen(type("Three", (nn.Module,), {"forward": lambda self, src, tgt, n: src})(), (X, SECOND))


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


torch.manual_seed(0)
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
    assert_same(Seen(network, data).output, network(Fields(X, SHIFT)))


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
    assert_same(seen.output, network(Fields(X, SHIFT)))


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
    assert_same(Seen(Apart(), data).output, X[:, :4] + SHIFT)


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
    assert_same(seen.output, NET(X))
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
    assert_same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()


def test_fields_that_are_not_parameters_are_given_only_if_needed():
    class Needs(nn.Module):
        def forward(self, x, **more):
            return x[:, :4] + more["shift"]

    seen = Seen(Needs(), {"x": X, "shift": SHIFT})
    assert_same(seen.output, X[:, :4] + SHIFT)
    assert seen.text == "inputs: x, shift"


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_scripted_networks_take_their_inputs():
    network = torch.jit.script(Siamese().eval())
    assert_same(Seen(network, (X, SECOND)).output, network(X, SECOND))
    seen = Seen(torch.jit.script(NET), (X, Y))
    assert_same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()


class Any(nn.Module):
    def __init__(self, inner, other=None):
        super().__init__()
        self.inner, self.other = inner, other or nn.Identity()

    def forward(self, *args):
        return self.inner(*args)


def test_networks_of_unknown_parameters_get_what_works():
    network = Siamese().eval()
    assert_same(Seen(Any(network), (X, SECOND)).output, network(X, SECOND))
    seen = Seen(Any(NET), (X, Y))
    assert_same(seen.output, NET(X))
    assert seen.labels.tolist() == Y.tolist()


def test_networks_of_unknown_parameters_that_take_both_are_refused():
    with pytest.raises(BadSource, match="give forward=, a function"):
        Seen(Any(Maybe()), (X, TIME))


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


class Detector(nn.Module):
    def forward(self, images: list[torch.Tensor], targets=None):
        assert isinstance(images, list)
        assert targets is None
        return torch.stack([image.mean(dim=(1, 2)) for image in images])


class Untyped(Detector):
    def forward(self, images, targets=None):
        return super().forward(images, targets)


torch.manual_seed(0)
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
    assert_same(seen.output, MEANS)
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
        assert_same(seen.output, wanted)
        assert seen.n_rows == N
    some = seen.batches[0].take(np.array([4, 1, 4]))
    assert some.n_rows == 3
    padded, lengths = pad_packed_sequence(some.inputs, batch_first=True)
    assert lengths.tolist() == [len(sequences[i]) for i in (4, 1, 4)]
    assert_same(padded[1, : lengths[1]], sequences[1])


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
    assert_same(seen.output, alone(Convolved()))
    assert seen.n_rows == 12
    if kind not in ("arguments", "tuple"):
        assert seen.labels.tolist() == y.tolist()
    taken = seen.batches[0].take(np.array([7, 0, 7]))
    with torch.no_grad():
        assert_same(seen.stream.inputs.call(network, taken.inputs), alone(Convolved())[[7, 0, 7]])


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
    assert_same(seen.output, alone(Convolved()))
    assert seen.labels.tolist() == [i % 2 for i in range(12)]
    taken = seen.batches[0].take(np.array([3, 1, 1]))
    with torch.no_grad():
        assert_same(seen.stream.inputs.call(network, taken.inputs), alone(Convolved())[[3, 1, 1]])


def test_a_graph_without_a_batch_vector_is_refused():
    x, edges, _ = joined(graphs())
    with pytest.raises(BadSource, match="no vector `batch`"):
        Seen(Whole(), [{"x": x, "edge_index": edges}])


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
