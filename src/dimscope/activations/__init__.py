"""Activations: one array of points per layer of a network, rows aligned.

In: arrays from :func:`dimscope.capture`, from the user, or from a store on disk. Out:
:class:`~dimscope.Activations`, a mapping from layer names to points. No torch is loaded.

Begin reading at ``activations.py``, the value. ``store`` opens and describes a Zarr store, whose
layers are read when they are used; ``chunks`` reads and writes the points of one layer in it.
"""
