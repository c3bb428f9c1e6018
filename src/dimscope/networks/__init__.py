"""Networks: from a torch network and stimuli to activations or, in one call, to a profile.

In: a ``torch.nn.Module`` (``models`` loads one by name) and batches of stimuli. Out:
:class:`~dimscope.Activations` from ``capture``, a :class:`~dimscope.Profile` from ``profile``.

Begin reading at ``capturing/capture.py``, which runs a network over the batches that ``data/``
makes of its data. ``options`` holds what a user can choose. ``tracing`` records one forward pass as
a graph of named values. It relies on ``structure``, which describes the modules before the run, and
on ``operations``, which classifies torch functions and modules. ``layers`` decides which values are
layers and which layers are checkpoints. ``profile_network`` defines the function ``profile``, which
loads torch only if it is given a network.
"""
