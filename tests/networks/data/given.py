"""Data of every structure, and what a network is given of them."""

import numpy as np
import torch
import transformers
from torch import nn
from torch.utils.data import Dataset

from dimscope.networks.data.signature import Signature
from dimscope.networks.data.stream import open_batches
from dimscope.networks.options import CaptureOptions
from dimscope.networks.tensors import main_tensor, map_tensors

N, T, V = 40, 6, 30
torch.manual_seed(0)
X = torch.randn(N, 5)
SECOND = torch.randn(N, 5)
Y = torch.arange(N) % 3
TIME = torch.randint(0, 10, (N,))
IDS = torch.randint(3, V, (N, T))
LENGTHS = torch.cat([torch.tensor([T, 2]), torch.randint(2, T + 1, (N - 2,))])
MASK = (torch.arange(T)[None] < LENGTHS[:, None]).long()
ONE_HOT = nn.functional.one_hot(Y, 3)
WORDS = [("cat", "dog", "ape")[i % 3] for i in range(N)]


def cast(network, inputs):
    """Convert floats to the type of the weights."""
    kind = next((p.dtype for p in network.parameters() if p.is_floating_point()), None)
    return map_tensors(lambda t: t.to(kind) if t.is_floating_point() else t, inputs)


def attempting(network):
    """Run two rows and four rows as the user would, and compare."""

    def attempt(inputs, batch):
        rows = np.arange(4) % batch.n_rows
        outputs = []
        with torch.no_grad():
            try:
                for order in (rows[:2], rows[[2, 3, 1, 0]]):
                    output = inputs.call(network, cast(network, batch.take(order).inputs))
                    outputs.append(main_tensor(output)[0])
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        few, many = outputs
        if few is None:
            return None if inputs.layout.lists else "no tensor"
        if (len(few), len(many)) != (2, 4):
            return "the rows do not follow"
        return None if torch.allclose(many[[3, 2]], few, atol=1e-5) else "the rows are dependent"

    return attempt


class Seen:
    """All that a network gets from data, and what it returns."""

    def __init__(self, network, data, **options):
        network = network.eval()
        options = CaptureOptions(**options)
        stream = open_batches(data, options, Signature.of(network), attempting(network))
        self.stream, self.text = stream, stream.inputs.text
        self.batches = list(stream.after(0))
        with torch.no_grad():
            self.outputs = [
                main_tensor(stream.inputs.call(network, cast(network, batch.inputs)))[0]
                for batch in self.batches
            ]
        self.n_rows = sum(batch.n_rows for batch in self.batches)

    @property
    def output(self):
        return torch.cat(self.outputs)

    @property
    def labels(self):
        return np.concatenate([batch.labels for batch in self.batches])

    @property
    def ids(self):
        return np.concatenate([batch.ids for batch in self.batches])

    def mask(self, name):
        return torch.cat([batch.masks[name] for batch in self.batches])


def assert_same(found, wanted):
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-5, atol=1e-6)


class Items(Dataset):
    def __init__(self, item, n=N):
        self.item, self.n = item, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return self.item(i)


def bert():
    torch.manual_seed(1)
    return transformers.BertModel(transformers.BertConfig(
        vocab_size=V, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8,
    )).eval()  # fmt: skip


def gpt():
    torch.manual_seed(1)
    return transformers.GPT2Model(
        transformers.GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=2, n_positions=16)
    ).eval()


BERT, GPT = bert(), gpt()
NET = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.t, self.c = nn.Linear(5, 8), nn.Embedding(10, 8), nn.Linear(8, 3)

    def forward(self, x, time):
        return self.c((self.a(x) + self.t(time)).relu())


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, first, second):
        return self.a(first) - self.b(second).relu()


MASKED = BERT(IDS, attention_mask=MASK).last_hidden_state


def encoder():
    torch.manual_seed(1)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

        def forward(self, src, src_key_padding_mask=None):
            return self.encoder(src, src_key_padding_mask=src_key_padding_mask)

    return Encoder().eval()


SRC = torch.randn(N, T, 8)


class Whole(nn.Module):
    """Takes a batch whole, by names or by attributes."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(5, 4)

    def forward(self, batch):
        x, shift = (
            (batch["x"], batch["shift"])
            if isinstance(batch, dict | transformers.BatchEncoding)
            else (batch.x, batch.shift)
        )
        return self.a(x) + shift
