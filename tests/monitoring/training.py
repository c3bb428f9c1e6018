"""Small networks and real digits to train them on."""

import functools

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


@functools.cache
def digits():
    """The 8 x 8 digits of scikit-learn: images of shape (1797, 1, 8, 8), and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)


def small_cnn(seed=0):
    """A network with batch norm and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(32, 10),
    )


class Texts(nn.Module):
    """A transformer that takes a dict with token ids and a mask, and returns a dict."""

    def __init__(self, n_tokens=40):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(n_tokens, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        return {"logits": self.head(hidden[:, 0])}


def texts(n_rows=60, seed=0):
    """Random tokens, padded to different lengths."""
    rng = np.random.default_rng(seed)
    ids = torch.tensor(rng.integers(1, 40, (n_rows, 10)))
    lengths = torch.tensor(rng.integers(4, 11, n_rows))
    mask = (torch.arange(10) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def train(model, steps, after=lambda loss: None, lr=0.05, batch=64, seed=0, data=None):
    """Train a classifier of digits, and call ``after`` with the loss of every step."""
    images, labels = digits() if data is None else data
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    drawing = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(images), (batch,), generator=drawing)
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after(loss)
