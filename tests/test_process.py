"""The process is left alone: every verb leaves what belongs to all of the process unchanged."""

import gc
import locale
import os
import random
import signal
import sys
import threading
import warnings
from contextlib import suppress

import dask.array
import faiss  # noqa: F401
import numpy as np
import pytest
import scipy.linalg  # noqa: F401  (its BLAS, which the first search would load)
import threadpoolctl
import torch
import torchvision  # noqa: F401
import zarr  # noqa: F401
from torch import distributed, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.dataset import IterableDataset

import dimscope as ds
from dimscope.arrays import memory

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((300, 30)).astype(np.float32)
TIED = RNG.integers(0, 3, (300, 30)).astype(np.float32)
IMAGES = torch.from_numpy(POINTS.reshape(300, 5, 6))
LABELS = torch.arange(300) % 2
MODEL_FILE = """
from process_neighbour import WIDTH


def make_model():
    import process_late
    import torch

    return torch.nn.Sequential(torch.nn.Linear(6, WIDTH), torch.nn.Linear(WIDTH, 3))


def make_nothing():
    raise RuntimeError("nothing")
"""


class Noisy(nn.Module):
    """A network that draws random numbers, and fails on one batch if told to."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.top, self.fails_at, self.calls = nn.Linear(30, 8), fails_at, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("no more")
        x = x.flatten(1) + 0.1 * torch.rand(len(x), 1, device=x.device)
        return self.top(torch.relu(nn.functional.dropout(x, 0.5, training=True)))


NOISY = Noisy()  # its weights are drawn here


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.rand(5, 6)


def make(model, folder, function="make_model"):
    return ds.load_model(f"{folder / 'process_model.py'}:{function}", weights="random")


def fail(function, *arguments, **keywords):
    with suppress(ds.DimscopeError):
        function(*arguments, **keywords)
        raise AssertionError("it did not fail")


def capture_failing():
    NOISY.fails_at = NOISY.calls + 3
    ds.capture(NOISY, IMAGES)


def estimate_tied():
    with pytest.warns(ds.TiedPoints):
        ds.estimate(TIED)


def estimate_dask():
    with dask.config.set(scheduler="synchronous"):  # dask keeps the threads of its own scheduler
        ds.estimate(dask.array.from_array(POINTS, chunks=(100, 30)))


VERBS = {
    "estimate": lambda _: ds.estimate(POINTS, [ds.TwoNN(), ds.MLE(k=5), ds.PCA()]),
    "estimate few features": lambda _: ds.estimate(POINTS[:, :5]),
    "estimate tied": lambda _: estimate_tied(),
    "estimate resampled": lambda _: ds.estimate(POINTS, ds.Resampled(ds.TwoNN(), n=5)),
    "estimate map": lambda folder: ds.estimate(np.load(folder / "points.npy", mmap_mode="r")),
    "estimate tensor": lambda _: ds.estimate(torch.from_numpy(POINTS)),
    "estimate dask": lambda _: estimate_dask(),
    "estimate sampled": lambda _: ds.estimate(POINTS, engine=ds.Sampled(0.05)),
    "estimate sketched": lambda _: ds.estimate(POINTS, engine=ds.Sketched()),
    "estimate approximate": lambda _: ds.estimate(
        POINTS, engine=ds.Approximate("faiss-ivf", parameters={"nlist": 1})
    ),
    "estimate bad": lambda _: fail(ds.estimate, POINTS * np.nan),
    "nearest_neighbors": lambda _: ds.nearest_neighbors(POINTS, 3),
    "local_dimension": lambda _: ds.local_dimension(POINTS),
    "spectrum": lambda _: ds.spectrum(POINTS),
    "scale_curve": lambda _: ds.scale_curve(POINTS),
    "rank_curve": lambda _: ds.rank_curve(POINTS),
    "difference": lambda _: ds.difference(ds.TwoNN()(POINTS), ds.TwoNN()(POINTS[:, :20])),
    "curvature_test": lambda _: ds.curvature_test(POINTS[:, :5], n=3),
    "surrogate": lambda _: ds.surrogate(POINTS),
    "capture": lambda _: ds.capture(NOISY, (IMAGES, LABELS)),
    "capture drawn": lambda _: ds.capture(NOISY, (IMAGES, LABELS), per_class=20),
    "capture shuffled": lambda _: ds.capture(
        NOISY, DataLoader(TensorDataset(IMAGES, LABELS), 50, shuffle=True)
    ),
    "capture endless": lambda _: ds.capture(NOISY, Endless(), n_points=70),
    "capture to a store": lambda folder: ds.capture(NOISY, IMAGES, out=folder / "new.zarr"),
    "capture past the budget": lambda _: ds.capture(NOISY, IMAGES, memory="10 kB"),
    "capture failing": lambda _: fail(capture_failing),
    "plan": lambda _: ds.plan(NOISY, IMAGES),
    "profile": lambda _: ds.profile(NOISY, IMAGES),
    "profile by class": lambda _: ds.profile(NOISY, (IMAGES, LABELS), by_class=True),
    "profile store": lambda folder: ds.profile(folder / "store.zarr"),
    "open_store": lambda folder: ds.open_store(folder / "store.zarr")["output"],
    "load_model": lambda folder: make(None, folder),
    "load_model failing": lambda folder: fail(make, None, folder, "make_nothing"),
    "load_model by name": lambda _: ds.load_model("torchvision/squeezenet1_0", weights="random"),
}

if torch.cuda.is_available():
    torch.cuda.init()
    ON_DEVICE = Noisy().cuda()
    VERBS |= {
        "estimate on a device": lambda _: ds.estimate(torch.from_numpy(POINTS).cuda()),
        "capture on a device": lambda _: ds.capture(ON_DEVICE, IMAGES),
        "profile on a device": lambda _: ds.profile(ON_DEVICE, IMAGES),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("process")
    np.save(place / "points.npy", POINTS)
    (place / "process_model.py").write_text(MODEL_FILE)
    (place / "process_neighbour.py").write_text("WIDTH = 9\n")
    (place / "process_late.py").write_text("")
    ds.capture(nn.Linear(6, 4), IMAGES, out=place / "store.zarr", readout="mean")
    return place


@pytest.fixture
def two_threads():
    """Two threads, since one could not be seen to change to one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpoolctl.threadpool_limits(2):
        yield
    torch.set_num_threads(before)


def random_states():
    kind, numbers, *rest = np.random.get_state()  # noqa: NPY002
    states = {
        "random": random.getstate(),
        "random, NumPy": (kind, numbers.tolist(), *rest),
        "random, torch": torch.get_rng_state().tolist(),
    }
    if torch.cuda.is_available():
        states["random, CUDA"] = [state.tolist() for state in torch.cuda.get_rng_state_all()]
    return states


def state():
    """All that verbs could change for the rest of the process, by its name."""
    return random_states() | {
        "path": list(sys.path),
        "meta path": [*map(id, sys.meta_path)],
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "hooks": (sys.excepthook, threading.excepthook, sys.getprofile(), sys.displayhook),
        "recursion": sys.getrecursionlimit(),
        "switches": sys.getswitchinterval(),
        "collection": (gc.isenabled(), gc.get_threshold()),
        "processors": os.sched_getaffinity(0),
        "threads left": {t.name for t in threading.enumerate() if not t.daemon},
        "floating point, NumPy": np.geterr(),
        "printing, NumPy": np.get_printoptions(),
        "threads, BLAS and OpenMP": {
            library["filepath"]: library["num_threads"]
            for library in threadpoolctl.threadpool_info()
        },
        "threads, torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "defaults, torch": (torch.get_default_dtype(), torch.get_default_device()),
        "deterministic": torch.get_deterministic_debug_mode(),
        "precision": (
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        ),
        "function modes": _get_current_function_mode_stack(),
        "module hooks": [
            len(getattr(nn.modules.module, name))
            for name in ("_global_forward_hooks", "_global_forward_pre_hooks")
        ],
        "group": distributed.is_initialized(),
        "device, CUDA": torch.cuda.current_device() if torch.cuda.is_initialized() else None,
    }


def changed(before, after):
    return sorted(name for name in before if before[name] != after[name])


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("verb", VERBS)
def test_verb_leaves_the_process_as_it_was(verb, folder, monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_set", lambda libc, options: calls.append(options))
    before = state()
    VERBS[verb](folder)
    assert changed(before, state()) == []
    assert calls == []
