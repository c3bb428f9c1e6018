"""Capturing: run a network once over its data and keep one array of points per layer.

In: a network, batches of stimuli and :class:`~dimscope.networks.options.CaptureOptions`.
Out: :class:`~dimscope.Activations`, in memory or in a store on disk.

Begin reading at ``capture.py``, which defines ``capture`` and ``plan``. ``session`` opens the data
(:mod:`dimscope.networks.data`) and runs the network on each batch;
``recording`` selects layers in the first batch and collects their points, which ``readouts``
extracts from the tensors. ``plan`` decides between memory, a store and several passes;
``store_writer`` writes the store so that an interrupted capture can resume; ``identity`` checks
that it is the same capture; ``ranks`` shares the work among processes.
"""
