"""Transformers: depth counts blocks, blocks are the checkpoints."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from dimscope.networks.capturing.capture import capture

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
TOKENS = {
    "input_ids": torch.arange(30).reshape(5, 6),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0]] * 5),
}


def bert():
    return transformers.BertModel(transformers.BertConfig(num_hidden_layers=4, **SMALL))


def distilbert():
    config = transformers.DistilBertConfig(
        n_layers=4, dim=16, n_heads=2, hidden_dim=32, vocab_size=50, num_labels=3
    )
    return transformers.DistilBertForSequenceClassification(config)


def gpt2():
    config = transformers.GPT2Config(n_layer=4, n_embd=16, n_head=2, vocab_size=50)
    return transformers.GPT2LMHeadModel(config)


def llama():
    config = transformers.LlamaConfig(num_hidden_layers=4, num_key_value_heads=2, **SMALL)
    return transformers.LlamaModel(config)


def albert():
    config = transformers.AlbertConfig(num_hidden_layers=4, embedding_size=8, **SMALL)
    return transformers.AlbertModel(config)


@pytest.mark.parametrize(
    ("make", "blocks", "after"),
    [
        (bert, [f"encoder.layer.{i}" for i in range(3)], []),
        (
            distilbert,
            [f"distilbert.transformer.layer.{i}" for i in range(4)],
            ["pre_classifier"],
        ),
        (gpt2, [f"transformer.h.{i}" for i in range(4)], []),
        (llama, [f"layers.{i}" for i in range(4)], []),
        (
            albert,
            [
                "encoder.albert_layer_groups.0.albert_layers.0" + (f"#{i}" if i > 1 else "")
                for i in (1, 2, 3)
            ],
            [],
        ),
    ],
)
def test_language_models_have_their_blocks_as_checkpoints(make, blocks, after):
    torch.manual_seed(0)
    model = make()
    batches = [TOKENS | {"labels": torch.arange(5) % 2}] if make is distilbert else [TOKENS]
    found = capture(model, batches, readout="mean")
    # token ids are no points, so there is no input
    names = [name for name in found if "embedding" not in name]
    assert names == [*blocks, *after, "output"]
    depths = {layer.name: layer.depth for layer in found.layers}
    assert [depths[name] for name in blocks] == [*range(1, len(blocks) + 1)]
    assert depths["output"] == 4
    assert not found.failures
    if make is distilbert:
        assert found.labels.tolist() == [0, 1, 0, 1, 0]
        assert found["output"].shape == (5, 3)


@pytest.mark.parametrize(
    ("make", "asked"),
    [(llama, "model.layers.?"), (bert, "bert.encoder.layer.?"), (llama, "layers.?")],
)
def test_layers_take_the_names_of_the_model_with_its_head(make, asked):
    found = capture(make(), [TOKENS], layers=[asked], readout="mean")
    expected = asked.removeprefix("model.").removeprefix("bert.")
    assert list(found) == [expected.replace("?", str(i)) for i in range(4)]


def test_layers_of_a_model_with_its_head_keep_their_names():
    found = capture(gpt2(), [TOKENS], layers=["transformer.h.1"], readout="mean")
    assert list(found) == ["transformer.h.1"]


def test_blocks_hold_the_values_of_a_plain_pass():
    torch.manual_seed(0)
    model = bert().eval()
    found = capture(model, [TOKENS], readout="first")
    with torch.no_grad():
        states = model(**TOKENS, output_hidden_states=True).hidden_states
    for i in range(3):
        expected = states[i + 1][:, 0].numpy()
        np.testing.assert_allclose(found[f"encoder.layer.{i}"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["output"], states[4][:, 0].numpy(), rtol=1e-4, atol=1e-5)


def test_token_ids_are_a_failure_with_a_reason():
    found = capture(bert(), [TOKENS], ["input", "output"], readout="mean")
    assert "int64" in found.failures["input"]
    assert list(found) == ["output"]
    assert found.layers[0].n_features == 0


def test_encoder_and_decoder_blocks_are_checkpoints():
    config = transformers.T5Config(
        d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, vocab_size=50
    )
    batch = {"input_ids": TOKENS["input_ids"], "decoder_input_ids": TOKENS["input_ids"][:, :4]}
    found = capture(transformers.T5Model(config), [batch], readout="mean")
    blocks = [f"{part}.block.{i}" for part in ("encoder", "decoder") for i in range(3)]
    assert [name for name in found if "block" in name] == blocks
    assert {layer.name: layer.depth for layer in found.layers}["output"] == 6


def test_vision_transformers_have_their_blocks_as_checkpoints():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 32)
    model = torchvision.models.VisionTransformer(32, 8, 5, 2, 16, 32, num_classes=4)
    found = capture(model, x, readout="first")
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in range(5)]
    assert list(found) == ["input", *blocks, "output"]
    assert [layer.depth for layer in found.layers] == [0, 1, 2, 3, 4, 5, 5]
    config = transformers.ViTConfig(
        num_hidden_layers=3, image_size=32, patch_size=8, **(SMALL | {"vocab_size": 1})
    )
    found = capture(transformers.ViTModel(config), [{"pixel_values": x}], readout="first")
    assert {layer.name: layer.depth for layer in found.layers}["output"] == 3


def test_attention_is_found_without_its_name():
    class Mix(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, -1)
            return x + self.out(nn.functional.scaled_dot_product_attention(q, k, v))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = Mix()

        def forward(self, x):
            return self.mix(x)

    model = nn.Sequential(nn.Linear(4, 8), Block(), Block(), Block(), nn.Linear(8, 2))
    found = capture(model, torch.randn(3, 5, 4))
    depths = {layer.name: layer.depth for layer in found.layers}
    assert depths == {"input": 0, "0": 0, "1": 1, "2": 2, "3": 3, "output": 3}


def test_a_convolutional_network_with_some_attention_counts_layers():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1))
            self.channel_attention = ChannelAttention()

        def forward(self, x):
            return self.channel_attention(self.convs(x))

    class ChannelAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return x * self.fc(x.mean((2, 3))).sigmoid()[:, :, None, None]

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Block(), Block(), nn.Conv2d(4, 2, 1))
    found = capture(model, torch.randn(2, 3, 8, 8))
    assert {layer.name: layer.depth for layer in found.layers} == {
        "input": 0, "1": 4, "2": 7, "output": 8,
    }  # fmt: skip
