"""Arrays of other kinds."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.tensors import tensors_in
from networks.data.given import NET, Items, N, Seen, X, Y, assert_same

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
        assert_same(found.output, network(X.double()))
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


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.parametrize("form", [lambda t: t, lambda t: [t, t]])
def test_nested_tensors_are_refused_with_what_to_give(form, layout):
    nested = torch.nested.nested_tensor([torch.randn(n, 3) for n in (4, 2, 5)], layout=layout)
    with pytest.raises(BadSource, match=r"\[part\[None\] for part in nested"):
        ds.capture(nn.Linear(3, 2), form(nested), readout="mean")
    parts = [part[None] for part in nested.unbind()]
    assert ds.capture(nn.Linear(3, 2), parts, readout="mean")["output"].shape == (3, 2)
