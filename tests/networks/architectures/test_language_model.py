"""A real language model in padded batches equals itself on each text alone."""

import inspect
import json
import random
import textwrap
import typing

import pytest

from benchmarks.language import blocks_of, compare, lines_of, load
from dimscope.errors import CaptureWarning

N_TEXTS = 60
SOURCES = (textwrap, json, random, inspect, typing)


def sentences():
    """Return lines of the documentation of the standard library, of unequal length."""
    documents = [
        inspect.getdoc(value) or ""
        for module in SOURCES
        for value in [module, *map(module.__dict__.get, module.__all__)]
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value)
    ]
    return lines_of("\n".join(documents), N_TEXTS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_blocks_of_a_language_model_equal_those_of_single_texts():
    texts = sentences()
    assert len(texts) == N_TEXTS
    model, tokenizer = load()
    assert len({len(ids) for ids in tokenizer(texts)["input_ids"]}) > 8
    with pytest.warns(
        CaptureWarning, match="18 of 30 layers .*, the first token is longer than all"
    ):
        results = list(compare(model, tokenizer, texts))
    assert len(results) == 2 * len(blocks_of(model))
    for readout, block, error, together, single in results:
        assert error <= 1e-4, (readout, block)
        assert together == pytest.approx(single, rel=1e-3), (readout, block)


def test_lines_are_distinct_and_have_words():
    assert lines_of("one two three\n\nshort\none two three\nfour five six seven", 5) == [
        "one two three",
        "four five six seven",
    ]
