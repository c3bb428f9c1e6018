"""Capture: from a network and batches of stimuli to one array of points per layer."""

from dimscope.capturing.collecting import capture

__all__ = ["capture"]
