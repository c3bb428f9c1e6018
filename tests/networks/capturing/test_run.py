"""A run leaves the network and the caller's random state as it found them, even if interrupted."""

import pytest
import torch
from torch import nn

from dimscope.networks.capturing.run import PrivateRandom, _reporting
from dimscope.networks.structure import Structure


class Interrupted(PrivateRandom):
    """Is interrupted while it reads the random state."""

    def _read(self):
        raise KeyboardInterrupt


def test_private_random_restores_the_state_after_an_interrupt_at_its_start():
    before, random = torch.get_rng_state(), Interrupted(5, None)
    with pytest.raises(KeyboardInterrupt), random:
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_private_random_restores_the_state_after_an_interrupt_at_its_end():
    before, random = torch.get_rng_state(), PrivateRandom(6, None)
    with pytest.raises(KeyboardInterrupt), random:
        random.__class__ = Interrupted
    assert torch.equal(torch.get_rng_state(), before)


class Fragile(nn.Linear):
    """Is interrupted just after its forward function has been replaced."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "forward":
            raise KeyboardInterrupt


def test_replaced_functions_are_restored_after_an_interrupt_while_they_are_replaced():
    network = nn.Sequential(nn.ReLU(), Fragile(3, 2))
    with pytest.raises(KeyboardInterrupt), _reporting(Structure(network), lambda *a: None):
        pass
    assert not any("forward" in module.__dict__ for module in network.modules())
