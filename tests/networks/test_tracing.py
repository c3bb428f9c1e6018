"""Names, depth and the choice of layers, on networks of all shapes."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from dimscope.errors import BadSource, CaptureWarning
from dimscope.networks.capturing.capture import capture


def layers_of(model, x, layers="checkpoints", **keywords):
    return {layer.name: layer for layer in capture(model, x, layers, **keywords).layers}


class Branches(nn.Module):
    """A long and a short path, then a function of both."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.left = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1))
        self.right = nn.Conv2d(4, 4, 1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.relu(self.stem(x))
        x = self.relu(torch.cat([self.left(x) + x, self.right(x)], 1)[:, :4])
        return self.head(x.mean([2, 3]))


def test_depth_is_the_longest_path():
    found = layers_of(Branches(), torch.randn(3, 3, 6, 6), "all")
    depths = {name: layer.depth for name, layer in found.items()}
    assert depths == {
        "input": 0,
        "stem": 1,
        "relu": 1,
        "right": 2,
        "left.0": 2,
        "left": 3,
        "left>add": 3,
        "left>add>cat": 3,
        "relu#2": 3,
        "relu#2>mean": 3,
        "output": 4,
    }
    assert found["relu#2>mean"].role == "last_hidden"
    assert found["left"].relative_depth == 0.75


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(
            functional.relu(self.fc(functional.relu(self.fc(functional.relu(self.fc(x))))))
        )


def test_a_module_called_again_has_a_number():
    x = torch.randn(5, 4)
    model = Twice()
    found = capture(model, x)
    assert list(found) == ["input", "fc", "fc#2", "fc#3", "output"]
    step = lambda t: model.fc(t).clamp(min=0)  # noqa: E731
    expected = step(step(x)).detach()
    assert torch.allclose(torch.from_numpy(found["fc#2"]), expected, atol=1e-6)
    names = list(layers_of(model, x, "all"))
    assert names == ["input", "fc", "fc>relu", "fc#2", "fc#2>relu", "fc#3", "fc#3>relu", "output"]


def test_a_function_called_again_has_a_number():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            x = self.fc(x)
            return torch.exp(x) - torch.exp(2 * x) * torch.tanh(x)

    names = list(layers_of(Net(), torch.randn(5, 4), "all"))
    assert names == [
        "input",
        "fc",
        "fc>exp",
        "fc>mul",
        "fc>mul>exp",
        "fc>tanh",
        "fc>mul>exp>mul",
        "output",
    ]


def test_names_omit_shape_operations():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 16)

        def forward(self, x):
            x = functional.dropout(functional.relu(self.fc(x.flatten(1))), training=self.training)
            return torch.tanh(x.view(-1, 4, 4).permute(0, 2, 1).contiguous()[:, 1:].float())

    names = list(layers_of(Net(), torch.randn(5, 4, 4), ["fc*", "output"]))
    assert names == ["fc", "fc>relu", "output"]
    names = list(layers_of(Net(), torch.randn(5, 4, 4), "fc>relu>tanh"))
    assert names == ["fc>relu>tanh"]


def test_one_tensor_appears_once_unless_both_names_are_selected():
    model = torchvision.models.resnet18(weights=None)
    x = torch.randn(2, 3, 64, 64)
    names = list(layers_of(model, x, "layer1*"))
    assert "layer1" in names
    assert "layer1.1" not in names
    assert "layer1.1.relu#2" not in names
    assert "layer1.0" in names
    assert "layer1.0.relu" in names
    both = capture(model, x, ["layer1", "layer1.1", "fc", "output"])
    assert list(both) == ["layer1", "layer1.1", "fc", "output"]
    assert both["layer1"] is both["layer1.1"]
    assert (both["fc"] == both["output"]).all()


def test_pooling_without_effect_is_no_checkpoint():
    def net(size):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(size),
            nn.Flatten(), nn.Linear(4 * size * size, 2),
        )  # fmt: skip

    x = torch.randn(3, 3, 8, 8)
    assert list(layers_of(net(4), x)) == ["input", "1", "output"]
    assert list(layers_of(net(2), x)) == ["input", "1", "2", "output"]
    assert layers_of(net(4), x)["1"].role == "last_hidden"
    # decided once, so a later batch in which the pooling happens to do nothing is no exception
    flat = [x, torch.ones(3, 3, 8, 8)]
    pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Flatten(), nn.Linear(192, 2))
    assert list(layers_of(pool, flat)) == ["input", "0", "output"]


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: x.mean([2, 3]),
        lambda x: torch.mean(x, dim=(-2, -1), keepdim=True).flatten(1),
        lambda x: x.view(x.shape[0], 4, -1).mean(-1),
        lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: functional.avg_pool2d(x, 6).flatten(1),
        lambda x: functional.max_pool2d(x, 6).flatten(1),
        lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    ],
)
def test_poolings_written_as_functions_are_checkpoints(pool):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(pool(self.conv(x)))

    model, x = Net(), torch.randn(5, 3, 6, 6)
    found = capture(model, x)
    hidden = [layer for layer in found.layers if layer.role == "last_hidden"]
    assert len(found) == 3
    expected = pool(model.conv(x)).detach()
    assert torch.allclose(torch.from_numpy(found[hidden[0].name]), expected, atol=1e-6)


def test_means_over_other_axes_are_no_checkpoints():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)

        def forward(self, x):
            x = self.pool(self.conv(x))
            return (x * x.mean(1, keepdim=True)).flatten(1) - x.flatten(1).mean(0)

    with pytest.warns(CaptureWarning, match=r"1 of 3 layers \('output'; .*\) depend on"):
        found = layers_of(Net(), torch.randn(5, 3, 4, 4))
    assert list(found) == ["input", "pool", "output"]


def test_blocks_of_a_unet_are_checkpoints():
    def double(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 3, 1, 1), nn.ReLU(True), nn.Conv2d(o, o, 3, 1, 1))

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down1, self.down2, self.up1 = double(1, 2), double(2, 4), double(4, 2)
            self.pool = nn.MaxPool2d(2)
            self.up = nn.ConvTranspose2d(4, 2, 2, 2)
            self.last = nn.Conv2d(2, 1, 1)

        def forward(self, x):
            a = self.down1(x)
            b = self.down2(self.pool(a))
            return self.last(self.up1(torch.cat([a, self.up(b)], 1)))

    found = layers_of(UNet(), torch.randn(3, 1, 8, 8))
    assert {name: layer.depth for name, layer in found.items()} == {
        "input": 0, "down1": 2, "pool": 2, "down2": 4, "up1": 7, "output": 8,
    }  # fmt: skip


@pytest.mark.slow
def test_blocks_of_other_networks_are_checkpoints():
    x = torch.randn(1, 3, 64, 64)
    found = layers_of(torchvision.models.mobilenet_v2(weights=None), x)
    assert list(found)[:19] == ["input", *[f"features.{i}" for i in range(18)]]
    assert list(found)[-2].startswith("features")
    assert list(found)[-2].endswith("adaptive_avg_pool2d")
    found = layers_of(torchvision.models.efficientnet_b0(weights=None), x)
    assert list(found) == ["input", *[f"features.{i}" for i in range(9)], "avgpool", "output"]
    found = layers_of(torchvision.models.densenet121(weights=None), x)
    assert [name for name in found if "block" in name or "transition" in name] == [
        name
        for i in (1, 2, 3, 4)
        for name in (f"features.denseblock{i}", f"features.transition{i}")
    ][:-1]
    assert found["output"].depth == 121
    found = layers_of(torchvision.models.googlenet(weights=None, init_weights=False), x)
    assert [name for name in found if "inception" in name] == [
        f"inception{b}" for b in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    ]
    assert not any("branch" in name for name in found)
    assert found["output"].depth == 22


@pytest.mark.slow
def test_blocks_of_efficientnet_lite_are_checkpoints():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    model = package.EfficientNet.from_name("efficientnet-lite0")
    found = layers_of(model, torch.randn(1, 3, 224, 224))
    blocks = [f"_blocks.{i}" for i in range(16)]
    assert list(found) == ["input", *blocks, "_avg_pooling", "output"]
    assert found["_avg_pooling"].role == "last_hidden"
    # stem, one block of 2 convolutions, 15 of 3, head, classifier
    assert found["output"].depth == 1 + 2 + 15 * 3 + 1 + 1


def test_network_inside_a_wrapper_keeps_its_checkpoints():
    class Normalize(nn.Module):
        def forward(self, x):
            return x / 2

    wrapped = nn.Sequential(Normalize(), torchvision.models.resnet18(weights=None))
    found = layers_of(wrapped, torch.randn(1, 3, 64, 64))
    names = ["maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"]
    assert list(found) == ["input", *[f"1.{name}" for name in names], "output"]


def test_checkpoints_lead_to_the_output():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.side = nn.Linear(4, 5), nn.Linear(5, 7)
            self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x):
            x = self.a(x).relu()
            return self.c(self.b(x)), self.side(x)

    x = torch.randn(5, 4)
    found = layers_of(Net(), x)
    assert list(found) == ["input", "a", "b", "output"]
    assert "side" in layers_of(Net(), x, "all")
    assert list(layers_of(Net(), x, "output[1]")) == ["output[1]"]


def test_further_outputs_of_a_module_have_names():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.fc = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            y, _ = self.lstm(x)
            return {"logits": self.fc(y[:, -1]), "tokens": y}

    model, x = Net(), torch.randn(5, 6, 3)
    found = capture(model, x, ["lstm", "lstm[1][0]", "output", "output[tokens]"])
    assert found["lstm"].shape == (5, 24)
    assert found["output"].shape == (5, 2)
    assert (found["output[tokens]"] == found["lstm"]).all()
    # its last state, whose stimuli lie on axis 1, is that of the last token
    np.testing.assert_array_equal(found["lstm[1][0]"], found["lstm"][:, -4:])


def test_a_value_overwritten_through_a_view_is_another_value():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            x = self.fc(x)
            x.view(-1).clamp_(min=0)
            return x

    model = nn.Sequential(Half(), nn.Linear(4, 2))
    x = torch.randn(6, 4)
    found = capture(model, x, ["0.fc", "0"])
    raw = model[0].fc(x).detach()
    assert (raw < 0).any()
    assert torch.allclose(torch.from_numpy(found["0.fc"]), raw)
    assert torch.allclose(torch.from_numpy(found["0"]), raw.clamp(min=0))


def test_a_custom_autograd_function_is_followed():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.from_numpy(x.numpy() * 2)

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Doubling(nn.Module):
        def forward(self, x):
            return Double.apply(x)

    model = nn.Sequential(
        nn.Linear(4, 4), nn.ReLU(), Doubling(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
    )
    found = layers_of(model, torch.randn(5, 4))
    assert {name: layer.depth for name, layer in found.items()} == {
        "input": 0, "0": 1, "3": 2, "output": 3,
    }  # fmt: skip


def test_a_module_named_output_is_not_the_output():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.output = nn.Linear(4, 3)

        def forward(self, x):
            return self.output(x).exp()

    model, x = Net(), torch.randn(5, 4)
    found = capture(model, x, "all")
    assert list(found) == ["input", "output#2", "output"]
    assert torch.allclose(torch.from_numpy(found["output"]), model(x).detach())


def test_layers_selects_by_kind_name_pattern_and_function():
    model, x = Branches(), torch.randn(3, 3, 6, 6)
    assert list(layers_of(model, x, "last_hidden")) == ["relu#2>mean"]
    assert list(layers_of(model, x, "left")) == ["left"]
    assert list(layers_of(model, x, ["left*", "input"])) == [
        "input",
        "left.0",
        "left",
        "left>add",
        "left>add>cat",
    ]
    assert list(layers_of(model, x, lambda layer: layer.relative_depth == 0.5)) == [
        "left.0",
        "right",
    ]
    assert list(layers_of(model, x, lambda layer: layer.role == "last_hidden")) == ["relu#2>mean"]
    assert list(layers_of(model, x, ["checkpoints", "left"])) == [
        "input",
        "left",
        "relu#2>mean",
        "output",
    ]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("lefft", r"no layer 'lefft' was executed. Did you mean 'left'"),
        ("nothing*", r"no layer 'nothing\*' was executed"),
        ([], "layers is empty"),
        (3, "layers is 3"),
        (lambda layer: False, "accepted none"),
    ],
)
def test_layers_refuses_wrong_selections(layers, message):
    with pytest.raises(BadSource, match=message):
        capture(Branches(), torch.randn(3, 3, 6, 6), layers)


def test_layers_refuses_a_module_that_was_not_called():
    model = Branches()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(BadSource, match="'unused' exists but was not called"):
        capture(model, torch.randn(3, 3, 6, 6), "unused")


class Pools(nn.Module):
    """Pools sequences of any length to 9 steps, and then by a function that keeps the shape."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Conv1d(3, 3, 1), nn.Linear(27, 2)

    def forward(self, x):
        x = self.mix(functional.adaptive_max_pool1d(x, 9))  # has no effect on 9 steps
        return self.head(functional.max_pool1d(x, 3, 1, 1).flatten(1))


def test_poolings_are_told_apart_in_batches_of_other_lengths():
    data = [torch.randn(8, 3, steps) for steps in (9, 8)]
    network = Pools()
    captured = capture(network, data, "all")
    assert "mix>max_pool1d" in captured, captured.failures
    with torch.no_grad():
        mixed = network.mix(functional.adaptive_max_pool1d(data[1], 9))
    expected = functional.max_pool1d(mixed, 3, 1, 1).flatten(1)
    np.testing.assert_allclose(captured["mix>max_pool1d"][8:], expected, atol=1e-6)


class Skipped(nn.Module):
    """A block that returns its input."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x):
        return x


class PassedThrough(nn.Module):
    """Modules that the first batch does not call; some of them return their input."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.second = nn.Linear(4, 2)
        self.skipped = nn.Sequential(Skipped(), Skipped())
        self.fresh = nn.Linear(4, 4)

    def forward(self, x):
        x = 2 * self.first(x)
        if x.isnan().any():
            x = self.fresh(self.skipped(x))
        return self.second(x)


def test_a_followed_batch_reports_new_calls_but_not_those_that_return_their_input():
    x = torch.randn(12, 4)
    x[8] = torch.nan
    with pytest.warns(CaptureWarning, match="did not call them: fresh;"):
        capture(PassedThrough(), x, batch_size=4)


def test_followed_batches_have_the_values_of_traced_ones():
    x = torch.randn(12, 3, 6, 6)
    network = Branches()
    every = capture(network, x, "all", batch_size=4)  # with values of functions: all are traced
    named = capture(network, x, ["left", "relu#2", "output"], batch_size=4)
    assert set(named) == {"left", "relu#2", "output"}
    for name, points in named.items():
        np.testing.assert_array_equal(points, every[name])
