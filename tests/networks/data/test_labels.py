"""What names a class, and what does not."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from dimscope.errors import BadPoints
from networks.data.given import (
    NET,
    ONE_HOT,
    SECOND,
    WORDS,
    Items,
    N,
    Seen,
    Siamese,
    X,
    Y,
    assert_same,
)


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
    assert_same(seen.output, NET(X))
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
    assert_same(seen.output, NET(X))
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
        assert_same(seen.output, NET(X))
        assert seen.labels.tolist() == Y.tolist()
