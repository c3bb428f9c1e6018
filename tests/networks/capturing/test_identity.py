"""A store is taken for a capture only if it is that capture; what is not ours is left alone."""

import functools
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from dimscope.networks.capturing.identity import (
    architecture_sha256,
    function_of,
    weights_sha256,
)

X = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))


def network(activation=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), activation(), nn.Linear(8, 2))


class Scaled(nn.Module):
    def __init__(self, scale, offset=0.0):
        super().__init__()
        self.inner, self.scale = network(), scale
        self.register_buffer("offset", torch.full((5,), offset), persistent=False)

    def forward(self, x):
        return self.inner(x * self.scale + self.offset)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (network(), network(nn.Tanh)),
        (Scaled(1.0), Scaled(3.0)),
        (Scaled(1.0), Scaled(1.0, offset=5.0)),
    ],
    ids=["activation", "attribute", "buffer that is not saved"],
)
def test_capture_refuses_to_resume_another_network_with_the_same_weights(tmp_path, one, other):
    ds.capture(one, X, out=tmp_path / "s.zarr")
    with pytest.raises(ds.BadSource, match="another capture, which differs in"):
        ds.capture(other, X, out=tmp_path / "s.zarr")


def test_weights_hash_includes_quantised_weights():
    hashes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wants to be rid of them
            weight = torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 0, torch.qint8)
        module = nn.Module()
        module.register_buffer("weight", weight)
        hashes.append(weights_sha256(module))
    assert hashes[0] != hashes[1]


def static(engine):
    quantize = torch.ao.quantization
    model = nn.Sequential(quantize.QuantStub(), *network_of(), quantize.DeQuantStub()).eval()
    model.qconfig = quantize.get_default_qconfig(engine)
    quantize.prepare(model, inplace=True)
    model(X)
    return quantize.convert(model, inplace=True)


def network_of():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))


def offloaded():
    accelerate = pytest.importorskip("accelerate")
    return accelerate.cpu_offload(network_of(), execution_device=torch.device("cpu"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: static("x86"),
        lambda: static("qnnpack"),
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(5, 4)), {nn.LSTM}),
        lambda: torch.jit.script(torch.ao.quantization.quantize_dynamic(network_of(), {nn.Linear})),
        lambda: torch.jit.freeze(torch.jit.script(network_of().eval())),
        offloaded,
    ],
    ids=["per channel", "per tensor", "LSTM", "script of quantised", "frozen", "offloaded"],
)
@pytest.mark.filterwarnings("ignore")  # torch announces that it will drop them
def test_weights_hash_follows_the_weights_of_every_kind_of_network(make):
    hashes = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        hashes.append(weights_sha256(make()))
    assert hashes[0] == hashes[2]
    assert hashes[0] != hashes[1]


def test_weights_hash_reads_each_offloaded_weight_once():
    model, reads = offloaded(), []
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        for part in getattr(hook, "hooks", (hook,)):
            if getattr(part, "weights_map", None) is not None:
                part.weights_map = Counted(part.weights_map, reads)
    weights_sha256(model)
    assert sorted(reads) == ["0.bias", "0.weight", "2.bias", "2.weight"]


class Counted(dict):
    """Weights by name, and the names that have been read."""

    def __init__(self, weights, reads):
        super().__init__()
        self.weights, self.reads = weights, reads

    def __getitem__(self, key):
        value = self.weights[key]
        self.reads.append(getattr(self.weights, "prefix", "") + key)
        return value


def test_weights_hash_refuses_weights_without_values_unless_they_are_lazy():
    with pytest.raises(ds.BadSource, match="weight are on the device meta, which holds no values"):
        weights_sha256(nn.Linear(3, 2, device="meta"))
    assert weights_sha256(nn.LazyLinear(3)) == weights_sha256(nn.LazyLinear(4))


class Applied(nn.Module):
    def __init__(self, *, twice):
        super().__init__()
        self.fc, self.twice = nn.Linear(5, 5), twice

    def forward(self, x):
        x = torch.tanh(self.fc(x))
        if self.twice:
            x = torch.tanh(x)
        return x


@pytest.mark.filterwarnings("ignore")  # torch announces that it will drop them
def test_architecture_hash_follows_the_code_of_traced_networks():
    hashes = [
        architecture_sha256(torch.jit.trace(Applied(twice=twice), X))
        for twice in (False, True, False)
    ]
    assert hashes[0] == hashes[2] != hashes[1]


class Readout:
    def __init__(self, column):
        self.column = column

    def __call__(self, tensor):
        return tensor[:, self.column : self.column + 1]


@pytest.mark.parametrize(
    "make",
    [
        Readout,
        lambda c: lambda t: t[:, c : c + 1],
        lambda c: functools.partial(lambda t, at: t[:, at : at + 1], at=c),
    ],
    ids=["object", "closure", "partial"],
)
def test_function_of_identifies_functions_by_their_code(tmp_path, make):
    out = tmp_path / "s.zarr"
    first = ds.capture(network(), X, readout=make(0), out=out)
    again = ds.capture(network(), X, readout=make(0), out=out)
    np.testing.assert_array_equal(first["output"], again["output"])
    with pytest.raises(ds.BadSource, match="differs in readout"):
        ds.capture(network(), X, readout=make(1), out=out)


def test_function_of_ends_for_recursive_functions():
    def calls(t):
        return calls(t)

    assert function_of(calls) == function_of(calls)


def test_identity_includes_every_value_of_an_array(tmp_path):
    changed = X.clone()
    changed[40, 0] += 1
    ds.capture(network(), X, batch_size=8, out=tmp_path / "s.zarr")
    with pytest.raises(ds.BadSource, match="values of the data"):
        ds.capture(network(), changed, batch_size=8, out=tmp_path / "s.zarr")


def test_identity_includes_the_last_batch_of_a_data_set(tmp_path):
    changed = X.clone()
    changed[-1] += 1
    ds.capture(network(), TensorDataset(X), batch_size=8, out=tmp_path / "s.zarr")
    with pytest.raises(ds.BadSource, match="values of the data"):
        ds.capture(network(), TensorDataset(changed), batch_size=8, out=tmp_path / "s.zarr")


def test_capture_keeps_foreign_files(tmp_path):
    names = ["movie.partial", "sub/.notes.part.txt", "backup.part1.rar", ".x.12.part.json"]
    (tmp_path / "sub").mkdir()
    (tmp_path / "folder.partial").mkdir()
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(ds.BadSource, match="is not a store"):
        ds.capture(network(), X, out=tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in names)


def test_capture_refuses_a_folder_of_foreign_parts(tmp_path):
    (tmp_path / "backup.part1.rar").write_text("mine")
    with pytest.raises(ds.BadSource, match="is not a store"):
        ds.capture(network(), X, out=tmp_path)


def test_capture_takes_numpy_integers(tmp_path):
    found = ds.capture(network(), X, seed=np.int64(3), n_points=np.int64(20), out=tmp_path / "s")
    assert ds.open_store(tmp_path / "s").n_points == found.n_points == 20


@pytest.mark.parametrize("labels", [np.linspace(0.1, 3.9, 60), np.zeros((60, 2), int)])
@pytest.mark.parametrize("stored", [False, True])
def test_capture_ignores_targets_that_are_no_classes(tmp_path, labels, stored):
    out = tmp_path / "s.zarr" if stored else None
    if labels.ndim == 1:
        assert ds.capture(network(), (X, labels), out=out).labels is None
    batches = [(X[:30], torch.as_tensor(labels[:30])), (X[30:], torch.as_tensor(labels[30:]))]
    out = out and tmp_path / "batches.zarr"
    assert ds.capture(network(), DataLoader(batches, batch_size=None), out=out).labels is None


def test_capture_refuses_fewer_rows_than_requested():
    with pytest.raises(ds.BadPoints, match="n_points is 100, but the data have 60 rows"):
        ds.capture(network(), iter([X]), n_points=100)
    labels = torch.arange(60) % 3
    with pytest.raises(ds.BadPoints, match="has 20 rows but per_class is 30"):
        ds.capture(network(), iter([(X, labels)]), per_class=30)


def test_capture_takes_no_masks_for_labels():
    masks = TensorDataset(X, torch.zeros(60, 3, 3, dtype=torch.long))
    with pytest.raises(ds.BadPoints, match="labels"):
        ds.capture(network(), masks, per_class=1)
