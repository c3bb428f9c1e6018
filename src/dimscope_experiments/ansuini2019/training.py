"""Training: train networks with a checkpoint after every epoch, so that a run can resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dimscope.files import write_beside
from dimscope_experiments.ansuini2019.study import Study

__all__ = ["Course", "at_epoch", "error_rate", "save", "train"]


@dataclass(frozen=True)
class Course:
    """How a network is trained.

    Parameters
    ----------
    epochs : int
        Largest number of epochs.
    learning_rate : float
        Learning rate of Adam.
    falls : bool
        Whether the learning rate decays to zero along half a cosine.
    batch_size : int
    seed : int
        Seed for the order of the images.
    to_zero_error : bool
        Whether to stop as soon as all training images are classified correctly.
    """

    epochs: int
    learning_rate: float = 1e-3
    batch_size: int = 64
    seed: int = 0
    to_zero_error: bool = False
    falls: bool = False

    def rate(self, done: float) -> float:
        """Return the learning rate after the fraction ``done`` of the training.

        Examples
        --------
        >>> round(Course(10, 1e-3, falls=True).rate(0.5), 12), Course(10, 1e-3).rate(0.5)
        (0.0005, 0.001)
        """
        share = (1 + math.cos(math.pi * done)) / 2 if self.falls else 1
        return share * self.learning_rate


def train(
    network: nn.Module,
    images: torch.Tensor | Callable[[int], torch.Tensor],
    labels: torch.Tensor,
    course: Course,
    study: Study,
    folder: Path,
    name: str,
    each_batch: Callable[[int, int], Any] | None = None,
) -> int:
    """Train a network, resuming from the last checkpoint in the folder.

    Parameters
    ----------
    network : nn.Module
        Its weights are replaced by those of the last checkpoint, if there is one.
    images : tensor of shape (n, ...), or callable
        A function takes the number of an epoch and returns its images.
    labels : tensor of shape (n,), int64
    course : Course
    study : Study
    folder : Path
        Folder for the checkpoints, ``epoch_1.pt`` and so on.
    name : str
        Name of the network, for progress reports.
    each_batch : callable, optional
        Called with (epoch, batch) before every batch.

    Returns
    -------
    int
        Total number of epochs trained.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=course.learning_rate)
    done = last_epoch(folder)
    finished = False
    if done:
        state = torch.load(folder / f"epoch_{done}.pt", weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        finished = state["finished"]
    for epoch in range(done + 1, course.epochs + 1):
        if finished:
            break
        shown = images(epoch) if callable(images) else images
        # the order of an epoch depends on nothing but its number
        order = torch.randperm(
            len(labels), generator=torch.Generator().manual_seed(10_000 * course.seed + epoch)
        )
        network.train()
        batches = order.split(course.batch_size)
        for number, rows in enumerate(batches):
            if each_batch is not None:
                each_batch(epoch, number)
                network.train()
            part = epoch - 1 + number / len(batches)
            for group in optimizer.param_groups:
                group["lr"] = course.rate(part / course.epochs)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(shown[rows]), labels[rows]).backward()
            optimizer.step()
            study.progress(f"training {name}", part + 1 / len(batches), course.epochs)
        finished = course.to_zero_error and error_rate(network, shown, labels) == 0
        save(folder / f"epoch_{epoch}.pt", {
            "network": network.state_dict(), "optimizer": optimizer.state_dict(),
            "finished": finished,
        })  # fmt: skip
        done = epoch
    network.eval()
    return done


def at_epoch(network: nn.Module, folder: Path, epoch: int) -> None:
    """Load the weights after an epoch, or after the last epoch if training stopped earlier."""
    state = torch.load(folder / f"epoch_{min(epoch, last_epoch(folder))}.pt", weights_only=True)
    network.load_state_dict(state["network"])
    network.eval()


def last_epoch(folder: Path) -> int:
    """Return the epoch of the last checkpoint, or 0 if there is none."""
    return max((int(path.stem.split("_")[1]) for path in folder.glob("epoch_*.pt")), default=0)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary file, then rename it."""
    write_beside(path, lambda beside: torch.save(state, beside))


@torch.inference_mode()
def error_rate(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the fraction of images that are misclassified in eval mode."""
    training = network.training
    network.eval()
    wrong = sum(
        int((network(some).argmax(1) != own).sum())
        for some, own in zip(images.split(500), labels.split(500), strict=True)
    )
    network.train(training)
    return wrong / len(images)
