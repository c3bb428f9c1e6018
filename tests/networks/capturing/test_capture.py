"""What is captured is what a plain forward pass computes, whatever happens around it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dimscope.networks.capturing.capture import capture


class Functional(nn.Module):
    """Functions only; the weights are bare parameters."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3) / 5)
        self.hidden = nn.Parameter(torch.randn(6, 64) / 8)
        self.last = nn.Parameter(torch.randn(6, 2))

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(functional.conv2d(x, self.kernel, padding=1)), 2)
        x = functional.relu(functional.linear(x.flatten(1), self.hidden))
        return x @ self.last


class Digits(nn.Module):
    """The small network of the paper's MNIST experiments, in place wherever possible."""

    def __init__(self, inplace=True):
        super().__init__()
        self.inplace = inplace
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.fc1 = nn.Linear(24, 8)
        self.fc2 = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x), inplace=self.inplace), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x), inplace=self.inplace), 2)
        x = self.drop(functional.relu(self.fc1(x.flatten(1)), inplace=self.inplace))
        y = self.fc2(x)
        x.zero_()  # what was captured must not notice
        return y

    def reference(self, x):
        p1 = functional.max_pool2d(self.conv1(x).clamp(min=0), 2)
        p2 = functional.max_pool2d(self.conv2(p1).clamp(min=0), 2)
        fc1 = self.fc1(p2.flatten(1)).clamp(min=0)
        return {
            "input": x,
            "conv1>relu>max_pool2d": p1,
            "conv2>relu>max_pool2d": p2,
            "fc1": fc1,
            "output": self.fc2(fc1),
        }


def assert_same(activations, expected, **tolerance):
    assert list(activations) == list(expected)
    for name, value in expected.items():
        value = value.detach().flatten(1).float().numpy()
        np.testing.assert_allclose(
            np.asarray(activations[name], np.float32),
            value,
            **({"rtol": 1e-5, "atol": 1e-6} | tolerance),
        )


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_capture_is_unaffected_by_in_place_operations_and_batch_size(inplace, batch_size):
    torch.manual_seed(0)
    model, x = Digits(inplace), torch.randn(7, 1, 8, 8)
    activations = capture(model, x, batch_size=batch_size)
    assert_same(activations, model.reference(x))
    roles = [layer.role for layer in activations.layers]
    assert roles == ["input", "hidden", "hidden", "last_hidden", "output"]
    assert [layer.depth for layer in activations.layers] == [0, 1, 2, 3, 4]


def test_capture_keeps_the_input_array_unchanged():
    x = torch.randn(6, 4)
    before = x.clone()
    activations = capture(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), x)
    assert torch.equal(x, before)
    np.testing.assert_array_equal(activations["input"], before.numpy())


def test_capture_of_a_network_of_functions():
    torch.manual_seed(0)
    model, x = Functional(), torch.randn(5, 3, 8, 8)
    pooled = functional.max_pool2d(functional.conv2d(x, model.kernel, padding=1).clamp(min=0), 2)
    hidden = (pooled.flatten(1) @ model.hidden.T).clamp(min=0)
    activations = capture(model, x)
    assert [layer.depth for layer in activations.layers] == [0, 1, 2, 3]
    assert_same(
        activations,
        {
            "input": x,
            "input>conv2d>relu>max_pool2d": pooled,
            "input>conv2d>relu>max_pool2d>linear": hidden,
            "output": hidden @ model.last,
        },
    )


@pytest.mark.parametrize("between", [nn.Identity(), nn.BatchNorm1d(5).eval(), nn.Dropout(0.9)])
@pytest.mark.parametrize("activation", [nn.ReLU(True), nn.Tanh(), nn.GELU(), nn.Sigmoid()])
def test_checkpoint_of_a_linear_layer_follows_its_activation(between, activation):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), between, activation, nn.Linear(5, 3)).eval()
    x = torch.randn(6, 4)
    hidden = model[2](model[1](model[0](x))).clone()
    assert_same(capture(model, x), {"input": x, "0": hidden, "output": model[3](hidden)})


def test_checkpoint_follows_a_gated_activation_and_skips_softmax():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            x = self.a(x)
            return functional.softmax(self.b(x * torch.sigmoid(x)), dim=1)

    torch.manual_seed(0)
    model, x = Net(), torch.randn(6, 4)
    hidden = functional.silu(model.a(x))
    assert_same(capture(model, x), {"input": x, "a": hidden, "output": model.b(hidden).softmax(1)})


def test_checkpoint_of_a_linear_layer_without_activation_is_its_output():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)), torch.randn(6, 4)
    assert_same(capture(model, x), {"input": x, "0": model[0](x), "output": model(x)})


@pytest.mark.parametrize("first", [nn.Linear(4, 4), nn.BatchNorm1d(4).eval()])
def test_named_layer_is_captured_before_in_place_operations(first):
    model = nn.Sequential(first, nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(9, 4)
    activations = capture(model, x, ["0", "1"], batch_size=4)
    raw = first(x)
    assert (raw < 0).any()
    assert_same(activations, {"0": raw, "1": raw.clamp(min=0)})


def test_convolutions_are_checkpoints_where_nothing_else_is():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(True),
        nn.Conv2d(2, 3, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 2),
    ).eval()
    x = torch.randn(5, 1, 8, 8)
    first = model[1](model[0](x)).clamp(min=0)
    second = model[3](first).clamp(min=0)
    assert_same(capture(model, x), {"input": x, "0": first, "3": second, "output": model(x)})


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (torch.float16, np.float16),
        (torch.bfloat16, np.float32),
        (torch.float32, np.float32),
        (torch.float64, np.float64),
    ],
)
def test_capture_keeps_dtypes_and_casts_inputs(dtype, kept):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).to(dtype)
    x = torch.randn(6, 4)
    activations = capture(model, x)
    assert all(array.dtype == kept for array in activations.values())
    hidden = model[1](model[0](x.to(dtype)))
    expected = hidden.detach().to(torch.float64).numpy()
    np.testing.assert_array_equal(activations["0"].astype(np.float64), expected)


def test_capture_writes_channels_last_in_the_order_of_units():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(5, 3, 8, 8).to(memory_format=torch.channels_last)
    assert_same(capture(model, x), {"input": x, "1": model[1](model[0](x)), "output": model(x)})


@pytest.mark.parametrize(
    ("readout", "expected"),
    [
        ("flatten", lambda t: t.flatten(1)),
        ("mean", lambda t: t.mean((2, 3))),
        ("first", lambda t: t.flatten(1)),
        (lambda t: t.flatten(1)[:, :3], lambda t: t.flatten(1)[:, :3]),
    ],
)
def test_readout_mean_of_feature_maps(readout, expected):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 4))
    x = torch.randn(5, 3, 8, 8)
    activations = capture(model, x, "1", readout=readout)
    assert_same(activations, {"1": expected(model[1](model[0](x)))})


@pytest.mark.parametrize(
    ("readout", "expected"),
    [("mean", lambda t: t.mean(1)), ("first", lambda t: t[:, 0]), ("last", lambda t: t[:, -1])],
)
def test_readout_of_tokens_makes_ragged_sequences_equal(readout, expected):
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    batches = [torch.randn(5, 7, 4), torch.randn(5, 9, 4)]
    activations = capture(model, batches, readout=readout)
    hidden = torch.cat([expected(model[1](model[0](b))) for b in batches])
    np.testing.assert_allclose(activations["0"], hidden.detach().numpy(), rtol=1e-5, atol=1e-6)
    failed = capture(model, [*batches], lambda layer: layer.name != "nothing", readout=readout)
    assert not failed.failures


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x.add_(1))


@pytest.mark.parametrize("form", [list, iter, lambda parts: ({"x": part} for part in parts)])
def test_data_are_kept_by_networks_that_overwrite_their_inputs(form):
    x, network = torch.randn(10, 4), Overwriting()
    before = x.clone()
    found = capture(network, form(x.split(4)), "all")
    assert torch.equal(x, before)
    np.testing.assert_array_equal(found["input"], before)
    with torch.no_grad():
        wanted = network(before)
    np.testing.assert_allclose(found["output"], wanted, rtol=1e-5, atol=1e-6)
