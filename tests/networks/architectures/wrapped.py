"""Networks in other clothes: quantised, adapted, compiled, with weights that are shared."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from networks.architectures.zoo import add


def perceptron() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)
    )


def quantised_statically() -> nn.Module:
    quantization = torch.ao.quantization
    network = nn.Sequential(
        quantization.QuantStub(),
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(288, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
        quantization.DeQuantStub(),
    ).eval()
    network.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)
    network = quantization.fuse_modules(network, [["1", "2"], ["4", "5"]])
    quantization.prepare(network, inplace=True)
    network(torch.randn(64, 3, 8, 8))
    return quantization.convert(network)


add(
    "quantised dynamically",
    lambda: torch.ao.quantization.quantize_dynamic(perceptron(), {nn.Linear}, torch.qint8),
    (12,),
    depends_on_batch=True,
)
add("quantised statically", quantised_statically, (3, 8, 8), rounds={"0": "input"})


class TinyAttention(nn.Module):
    """A classifier of sequences with one block of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.up, self.down, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = self.embed(x)
        h = h + functional.scaled_dot_product_attention(self.query(h), self.key(h), self.value(h))
        h = h + self.down(functional.relu(self.up(h)))
        return self.head(h.mean(1))


def lora() -> nn.Module:
    import peft

    config = peft.LoraConfig(target_modules=["query", "value", "up"], r=2, init_lora_weights=False)
    return peft.get_peft_model(TinyAttention(), config)


add("LoRA", lora, (6, 4))
add("compiled", lambda: torch.compile(perceptron(), backend="eager"), (12,))


class Tied(nn.Module):
    """A language model whose last layer has the weights of its embedding, and a layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(60, 16), nn.Linear(16, 16)
        self.again, self.logits = self.mix, nn.Linear(16, 60, bias=False)
        self.logits.weight = self.words.weight

    def forward(self, ids):
        h = self.mix(self.words(ids)).relu()
        return self.logits(self.again(h).relu())


add("weight-tied", Tied, ((8,), 60))


def frozen_copy() -> nn.Module:
    """Blocks that are copies of one another, as distillation begins with."""
    block = nn.Sequential(nn.Linear(16, 16), nn.GELU())
    return nn.Sequential(nn.Linear(12, 16), *(copy.deepcopy(block) for _ in range(3)))


add("copied blocks", frozen_copy, (12,))
