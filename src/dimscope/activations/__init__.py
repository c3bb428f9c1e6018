"""Activations: one array of points for each layer of a network, with aligned rows.

In: arrays from :func:`dimscope.capture`, from the user, or from a store on disk. Out:
:class:`~dimscope.Activations`, a mapping from layer names to points. No torch is loaded.

Begin reading at ``activations.py``, which defines the class. ``store`` opens a Zarr store and reads
its layers on access; ``chunks`` reads and writes the points of one layer. ``saved`` opens what
other programs have saved, and ``readouts`` makes one vector of the tokens of each stimulus.
"""
