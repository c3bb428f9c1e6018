"""Warnings name the line of the caller, whichever function gives them."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import dimscope as ds
from dimscope.errors import silent, warn
from dimscope.manifolds import sphere

TIED = np.round(sphere(400, 2), 1)
WIDE = np.random.default_rng(0).standard_normal((400, 30)).astype(np.float32)
FEW_CELLS = ds.Approximate("faiss-ivf", parameters={"nlist": 100, "nprobe": 1})
CALLS = {
    "estimate": (lambda: ds.estimate(TIED), ds.TiedPoints),
    "estimator": (lambda: ds.TwoNN()(TIED), ds.TiedPoints),
    "neighbors": (lambda: ds.TwoNN()(ds.nearest_neighbors(TIED)), ds.TiedPoints),
    "profile": (lambda: ds.profile(ds.Activations({"tied": TIED})), ds.TiedPoints),
    "scale_curve": (lambda: ds.scale_curve(TIED), ds.TiedPoints),
    "search": (lambda: ds.nearest_neighbors(WIDE, engine=FEW_CELLS), ds.PoorRecall),
    "estimate, approximate": (lambda: ds.estimate(WIDE, engine=FEW_CELLS), ds.PoorRecall),
}


@pytest.mark.parametrize("name", CALLS)
def test_warning_names_the_line_of_the_caller(name):
    call, category = CALLS[name]
    with pytest.warns(category) as caught:
        call()
    places = {(str(w.filename), w.lineno) for w in caught if w.category is category}
    assert places == {(__file__, call.__code__.co_firstlineno)}


def test_warning_of_a_thread_names_the_caller_in_that_thread():
    def work():
        ds.estimate(TIED)

    with ThreadPoolExecutor(1) as pool, pytest.warns(ds.TiedPoints) as caught:
        pool.submit(work).result()
    assert {w.filename for w in caught} == {__file__}


def test_silent_drops_the_warnings_of_its_thread_only():
    entered, leave = threading.Event(), threading.Event()

    def work():
        with silent(ds.TiedPoints):
            entered.set()
            assert leave.wait(60)
            ds.estimate(TIED)

    thread = threading.Thread(target=work)
    filters = list(warnings.filters)
    thread.start()
    assert entered.wait(60)
    assert warnings.filters == filters
    with pytest.warns(ds.TiedPoints, match="here"):
        warn("here", ds.TiedPoints)
    with warnings.catch_warnings(record=True) as caught:
        leave.set()
        thread.join()
    assert caught == []


def test_silent_lets_other_warnings_pass():
    with silent(ds.PoorRecall), pytest.warns(ds.TiedPoints, match="ties"):
        warn("ties", ds.TiedPoints)
