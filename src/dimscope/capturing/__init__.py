"""Capture: from a network and batches of stimuli to one array of points per layer."""

from dimscope.capturing.collecting import capture
from dimscope.capturing.files import image_folder
from dimscope.capturing.planning import plan

__all__ = ["capture", "image_folder", "plan"]
