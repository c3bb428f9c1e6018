"""Single stimuli are told from batches, and put into batches."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dimscope.errors import BadSource
from networks.data.given import (
    BERT,
    IDS,
    LENGTHS,
    NET,
    ONE_HOT,
    SECOND,
    SRC,
    Items,
    N,
    Seen,
    X,
    Y,
    assert_same,
)

CONV = nn.Sequential(
    nn.Conv2d(3, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)
).eval()
FULLY = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
torch.manual_seed(0)
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
    assert_same(seen.output, network(IMAGES))
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
    assert_same(seen.output, NET(X))
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
    assert_same(seen.output.reshape(N, 3), NET(X))
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
    assert_same(seen.output, network(SRC))
    assert seen.n_rows == N


def test_ragged_sequences_run_one_at_a_time():
    network = Recurrent().eval()
    data = [SRC[i, : LENGTHS[i]] for i in range(N)]
    for each in (data, iter(data), Items(lambda i: data[i])):
        seen = Seen(network, each)
        assert seen.n_rows == N
        assert seen.text.endswith("; one at a time")
        for output, sequence in zip(seen.outputs, data, strict=True):
            assert_same(output, network(sequence[None]))


def test_ragged_texts_run_one_at_a_time_without_padding():
    texts = [IDS[i, : LENGTHS[i]].tolist() for i in range(N)]
    items = Items(lambda i: {"input_ids": texts[i], "attention_mask": [1] * len(texts[i])})
    for data in (items, {"input_ids": texts}, [{"input_ids": text} for text in texts]):
        seen = Seen(BERT, data)
        assert seen.n_rows == N
        for output, text in zip(seen.outputs, texts, strict=True):
            assert_same(output, BERT(torch.tensor([text])).last_hidden_state)


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
    assert_same(seen.output, data[0].float().reshape(N, -1))


def test_one_hot_labels_as_long_as_the_channels_do_not_make_channels_rows():
    data = [(image, ONE_HOT[i]) for i, image in enumerate(IMAGES)]
    for network in (CONV, FULLY):
        seen = Seen(network, data)
        assert_same(seen.output, network(IMAGES))
        assert seen.labels.tolist() == Y.tolist()


def test_labelled_batches_of_sequences_stay_batches():
    network = nn.Linear(8, 3)  # takes any number of axes
    seen = Seen(network, [(SRC[:20], Y[:20]), (SRC[20:], Y[20:])])
    assert_same(seen.output, network(SRC))
    assert seen.labels.tolist() == Y.tolist()


def test_batches_of_images_stay_batches():
    for data in (list(IMAGES.split(8)), [*zip(IMAGES.split(8), Y.split(8), strict=True)]):
        for network in (CONV, FULLY):
            seen = Seen(network, data)
            assert_same(seen.output, network(IMAGES))
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
