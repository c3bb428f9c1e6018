"""One pass, and everything is left as it was found."""

import contextlib
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.capturing.capture import capture
from dimscope.networks.capturing.session import Session
from dimscope.networks.options import CaptureOptions
from networks.capturing.checks import CHECK_ROWS, CHECKS


class Counting(nn.Module):
    def __init__(self, fail_at=None):
        super().__init__()
        self.fc1, self.drop, self.bn = nn.Linear(4, 5), nn.Dropout(0.5), nn.BatchNorm1d(5)
        self.fc2 = nn.Linear(5, 2)
        self.rows, self.fail_at = [], fail_at

    def forward(self, x):
        self.rows.append(len(x))
        hidden = self.drop(self.bn(self.fc1(x)))
        if len(self.rows) == self.fail_at:
            raise ArithmeticError("on purpose")
        return self.fc2(hidden)


@contextlib.contextmanager
def interrupted(module):
    def stop(*arguments):
        raise KeyboardInterrupt

    hook = module.register_forward_hook(stop)
    try:
        yield
    finally:
        hook.remove()


def test_session_examines_again_after_an_error():
    model = Counting()
    session = Session(model, torch.randn(10, 4), CaptureOptions())
    with pytest.raises(KeyboardInterrupt), interrupted(model.fc2):
        session.examine()
    session.examine()
    assert session.recorder.layouts


def hooks_of(model):
    return [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]


@pytest.mark.parametrize("layers", ["checkpoints", "all", "last_hidden", "fc*", lambda layer: True])
def test_capture_runs_one_forward_pass_for_each_batch(layers):
    model = Counting()
    capture(model, torch.randn(10, 4), layers, batch_size=4)
    assert model.rows == [*CHECK_ROWS, 4, 4, 2]


@pytest.mark.parametrize("fail_at", [None, 1, 2])
def test_capture_restores_flags_hooks_and_random_numbers(fail_at):
    model = Counting(fail_at and CHECKS + fail_at).train()
    model.bn.eval()
    flags = {name: m.training for name, m in model.named_modules()}
    mine = model.fc1.register_forward_hook(lambda *a: None)
    statistics = model.bn.running_mean.clone()
    state = torch.get_rng_state()
    if fail_at:
        with pytest.raises(BadSource, match=f"batch {fail_at}.*on purpose") as caught:
            capture(model, torch.zeros(10, 4), batch_size=4)
        assert isinstance(caught.value.__cause__, ArithmeticError)
    else:
        capture(model, torch.zeros(10, 4), batch_size=4)
    assert {name: m.training for name, m in model.named_modules()} == flags
    assert flags[""]
    assert not flags["bn"]
    assert hooks_of(model) == [mine.id]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.bn.running_mean, statistics)
    assert torch.is_grad_enabled()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not torch.overrides._get_current_function_mode_stack()


def test_capture_removes_hooks_after_an_error():
    model = Counting().train()

    def batches():
        yield torch.zeros(3, 4)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        capture(model, batches())
    assert not hooks_of(model)
    assert model.training


def test_network_can_be_trained_after_capture():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.scale = nn.Linear(4, 2), None

        def forward(self, x):
            if self.scale is None:
                self.scale = torch.ones(4) * 2
            return self.fc(x * self.scale)

    model = Caching()
    capture(model, torch.randn(3, 4))
    x = torch.randn(3, 4, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None


def test_capture_of_a_random_network_is_seeded():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    x = torch.zeros(6, 4)
    runs = [capture(Noisy(), x, "output", batch_size=3, seed=s)["output"] for s in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).all()
    assert (runs[0][:3] != runs[0][3:]).all()  # not the same noise in every batch
    inputs = capture(Noisy(), x, "output", seed=4).provenance.parameters["inputs"]
    assert inputs == "inputs: x; the network draws random numbers, from seed 4"
    assert "random" not in capture(small(), x, "output").provenance.parameters["inputs"]


class Doubled(nn.Module):
    """An exact copy with a wrapper's name in every path."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(True), nn.Linear(5, 2))


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("wrap", ["compile", "parallel", "compiled in place"])
def test_capture_drops_the_names_of_wrappers(wrap, inner):
    x = torch.randn(6, 4)
    plain = Doubled(small()) if inner else small()
    expected = capture(plain, x, "all")
    core = small()
    if wrap == "compiled in place":
        core.compile(backend="eager")
        wrapped = core
    elif wrap == "compile":
        wrapped = torch.compile(core, backend="eager")
    else:
        wrapped = nn.DataParallel(core)
    found = capture(Doubled(wrapped) if inner else wrapped, x, "all")
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_capture_names_layers_after_a_caught_exception():
    class Brittle(nn.Module):
        def forward(self, x):
            raise KeyError

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad, self.a, self.b = Brittle(), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            try:
                x = self.bad(x)
            except KeyError:
                x = self.a(x).relu()
            return self.b(x)

    model = nn.Sequential(Net(), nn.Linear(2, 2))
    found = capture(model, torch.randn(3, 4), "all")
    assert list(found) == ["input", "0.a", "0.a>relu", "0", "output"]


def test_captures_in_threads_are_independent():
    results = {}

    def run(i):
        results[i] = capture(small(), torch.full((4, 4), float(i)), "all")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {tuple(found) for found in results.values()} == {("input", "0", "1", "output")}
    assert all((results[i]["input"] == i).all() for i in range(4))


def test_uncapturable_layers_have_reasons_and_others_go_on():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.swap, self.fc, self.where, self.sometimes, self.odd = (
                Apply(lambda x: x.transpose(0, 1) * 1),
                nn.Linear(4, 2),
                Apply(lambda x: x.argmax(1)),
                Apply(lambda x: x * 2),
                Apply(lambda x: x * 3),
            )
            self.ragged = Apply(lambda x: x[:, : 2 + len(x) % 2] * 1)

        def forward(self, x):
            self.swap(x)
            self.where(x)
            self.ragged(x)
            if not (x > 9).any():
                self.sometimes(x)
            if len(x) == 3:
                self.odd(x)
            return self.fc(x)

    class Apply(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    names = ["swap", "where", "ragged", "sometimes", "odd", "fc"]
    x = torch.randn(5, 4)
    x[4] = 10
    found = capture(Net(), x, names, batch_size=3)
    assert list(found) == ["swap", "fc"]
    assert found["fc"].shape == (5, 2)
    np.testing.assert_array_equal(found["swap"], x.numpy())  # its stimuli lie on axis 1
    assert "int64" in found.failures["where"]
    assert "from 3 to 2" in found.failures["ragged"]
    assert "but not in batch 2" in found.failures["sometimes"]
    assert "not called when the network ran on a few of the first" in found.failures["odd"]
    assert {layer.n_features for layer in found.layers if layer.name in found.failures} == {0}
    with pytest.raises(KeyError, match="was not captured"):
        found["where"]
    with pytest.raises(BadPoints, match="none of the 1 selected layers"):
        capture(Net(), torch.randn(3, 4), "where")


def test_readout_errors_are_reasons():
    def tokens_only(t):
        if t.ndim != 3:
            raise ValueError("no tokens")
        return t[:, 0]

    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(15, 2))
    found = capture(model, torch.randn(6, 5, 4), readout=tokens_only)
    assert list(found) == ["input", "0"]
    assert "no tokens" in found.failures["output"]


def test_capture_reports_progress_and_provenance():
    calls = []
    found = capture(
        small(), torch.randn(7, 4), batch_size=3, n_points=5, seed=3, name="tiny",
        progress=lambda *report: calls.append(report),
    )  # fmt: skip
    assert calls == [("running the network", 3, 5), ("running the network", 5, 5)]
    assert found.name == "tiny"
    parameters = found.provenance.parameters
    assert parameters["drawn"] == "sample"
    assert (parameters["n_points"], parameters["batches"], parameters["seed"]) == (5, 2, 3)
    assert len(parameters["weights_sha256"]) == 64
    assert "torch" in found.provenance.versions


def test_weights_hash_distinguishes_weights():
    def fingerprint(model):
        return capture(model, torch.zeros(3, 4)).provenance.parameters["weights_sha256"]

    model = small()
    first = fingerprint(model)
    assert fingerprint(small()) == first
    with torch.no_grad():
        model[2].bias[0] += 1e-6
    assert fingerprint(model) != first


@pytest.mark.slow
@pytest.mark.parametrize("n_batches", [1, 20])
def test_capture_memory_is_little_more_than_the_points(n_batches):
    """Growing by an unknown number of batches makes no second copy."""
    tracemalloc = pytest.importorskip("tracemalloc")
    model, rows, units = nn.Sequential(nn.MaxPool1d(1), nn.Flatten()), 50, 40_000
    batches = (torch.zeros(rows, 1, units) for _ in range(n_batches))
    tracemalloc.start()  # NumPy reports its buffers; torch's own are not in it
    found = capture(model, batches, ["input", "output"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.nbytes == 2 * n_batches * rows * units * 4
    assert peak < 1.2 * found.nbytes + 10e6


def test_capture_refuses_a_wrong_model_or_output():
    class Silent(nn.Module):
        def forward(self, x):
            return None

    with pytest.raises(BadSource, match="model is a function"):
        capture(small, torch.zeros(3, 4))
    with pytest.raises(BadSource, match="returned a NoneType"):
        capture(Silent(), torch.zeros(3, 4))


def test_capture_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        activations = capture(small(), np.random.default_rng(0).normal(size=(6, 4)))
    assert activations.n_points == 6
