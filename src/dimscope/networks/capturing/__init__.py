"""Capturing: run a network once over its data and keep one array of points per layer.

In: a network, batches of stimuli and :class:`~dimscope.networks.capturing.options.CaptureOptions`.
Out: :class:`~dimscope.Activations`, in memory or in a store on disk.

Begin reading at ``capture.py``, the verbs. ``data`` and ``batches`` turn what the caller has into a
stream of batches; ``session`` runs the network on them, batch by batch; ``recording`` selects
layers in the first batch and collects their points, which ``readouts`` takes from their tensors.
``plan`` decides between memory, a store and several passes; ``store_writer`` writes the store so
that an interrupted capture resumes, if its ``identity`` is the same; ``ranks`` shares the work
among processes.
"""
