"""Capturing: a network and batches of stimuli to one array of points per layer."""
