"""Networks: from a torch network and stimuli to activations or, in one call, to a profile.

In: a ``torch.nn.Module`` (``models`` loads one by name) and batches of stimuli. Out:
:class:`~dimscope.Activations` from ``capture``, a :class:`~dimscope.Profile` from ``profile``.

Begin reading at ``capturing/capture.py``, which runs a network over its data. ``tracing`` follows
one forward pass as a graph of named values, with ``structure`` (the modules before the run) and
``operations`` (which torch functions and modules count as what). ``layers`` decides which
values are layers and which layers are checkpoints. ``profile_network`` is the verb ``profile``,
which loads torch for a network only.
"""
