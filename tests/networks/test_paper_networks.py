"""The fourteen networks of the paper: checkpoints, depth, and values."""

import numpy as np
import pytest
import torch
import torchvision

from dimscope.networks.capturing.capture import capture

pytestmark = pytest.mark.slow

DEPTHS = {
    "alexnet": 8,
    "vgg11": 11,
    "vgg13": 13,
    "vgg16": 16,
    "vgg19": 19,
    "vgg11_bn": 11,
    "vgg13_bn": 13,
    "vgg16_bn": 16,
    "vgg19_bn": 19,
    "resnet18": 18,
    "resnet34": 34,
    "resnet50": 50,
    "resnet101": 101,
    "resnet152": 152,
}
# Depth of the checkpoints between input and output, counted by hand in the papers' tables.
INNER_DEPTHS = {
    "alexnet": [1, 2, 5, 6, 7],
    "vgg11": [1, 2, 4, 6, 8, 9, 10],
    "vgg13": [2, 4, 6, 8, 10, 11, 12],
    "vgg16": [2, 4, 7, 10, 13, 14, 15],
    "vgg19": [2, 4, 8, 12, 16, 17, 18],
    "resnet18": [1, 5, 9, 13, 17, 17],
    "resnet34": [1, 7, 15, 27, 33, 33],
    "resnet50": [1, 10, 22, 40, 49, 49],
    "resnet101": [1, 10, 22, 91, 100, 100],
    "resnet152": [1, 10, 34, 142, 151, 151],
}
RESNET = ["input", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "output"]


def build(name):
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None)


@pytest.mark.parametrize("name", sorted(DEPTHS))
def test_paper_networks_have_their_depth_and_checkpoints(name, constant_init):
    model = build(name)
    side = 224 if name == "alexnet" else 64
    activations = capture(model, torch.randn(1, 3, side, side))
    layers = activations.layers
    assert layers[-1].name == "output"
    assert layers[-1].depth == DEPTHS[name]
    assert layers[-1].relative_depth == 1.0
    assert [layer.role for layer in layers].count("last_hidden") == 1
    assert layers[-2].role == "last_hidden"
    assert layers[0].name == "input"
    inner = INNER_DEPTHS[name.removesuffix("_bn")]
    if name.startswith("resnet"):
        assert [layer.name for layer in layers] == RESNET
        assert [layer.depth for layer in layers] == [0, *inner, DEPTHS[name]]
    elif name.startswith("vgg"):
        # 64 px: the adaptive pooling enlarges 2x2 to 7x7, so it is a checkpoint here
        names = [layer.name for layer in layers]
        assert names.pop(-4) == "avgpool"
        assert len(names) == 9
        depths = [layer.depth for layer in layers if layer.name != "avgpool"]
        assert depths == [0, *inner, DEPTHS[name]]
    else:
        assert [layer.depth for layer in layers] == [0, *inner, DEPTHS[name]]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        (
            "vgg16",
            "input features.4 features.9 features.16 features.23 features.30 classifier.0 "
            "classifier.3 output",
        ),
        ("alexnet", "input features.2 features.5 features.12 classifier.1 classifier.4 output"),
    ],
)
def test_checkpoints_hold_the_values_of_a_plain_pass(name, names, quick_init):
    model = build(name).eval()
    x = torch.randn(2, 3, 224, 224)
    activations = capture(model, x)
    assert list(activations) == names.split()
    expected = {"input": x}
    value = x
    with torch.no_grad():
        for i, layer in enumerate(model.features):
            value = layer(value).clone()
            if isinstance(layer, torch.nn.MaxPool2d):
                expected[f"features.{i}"] = value.clone()
        value = torch.flatten(model.avgpool(value), 1)
        for i, layer in enumerate(model.classifier):
            value = layer(value).clone()
            if isinstance(layer, torch.nn.Linear):
                last = i
            if isinstance(layer, torch.nn.ReLU):
                expected[f"classifier.{last}"] = value.clone()
        expected["output"] = value
    for layer in activations:
        np.testing.assert_allclose(
            activations[layer], expected[layer].flatten(1).numpy(), rtol=1e-4, atol=1e-6
        )


def test_residual_stages_hold_the_values_of_a_plain_pass():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    x = torch.randn(3, 3, 64, 64)
    activations = capture(model, x, batch_size=2)
    with torch.no_grad():
        value = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        expected = {"input": x, "maxpool": value}
        for name in ("layer1", "layer2", "layer3", "layer4"):
            value = getattr(model, name)(value)
            expected[name] = value.clone()
        expected["avgpool"] = model.avgpool(value)
        expected["output"] = model(x)
    assert list(activations) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            activations[name], value.flatten(1).numpy(), rtol=1e-4, atol=1e-5
        )
