"""Data: from what a user gives as data to batches of inputs, labels, masks and ids.

In: tensors, arrays, data sets, loaders, iterables or a path, the signature of the network, and
:class:`~dimscope.networks.options.CaptureOptions`. Out: a
:class:`~dimscope.networks.data.stream.Stream` of :class:`~dimscope.networks.data.batches.Batch`.

Begin reading at ``stream.py``, which defines ``open_batches``. ``sources`` reads raw batches from
the data, at any rows or one after the other, and ``items`` puts single stimuli into batches.
``readings`` decides from the ``signature`` of the network and the first batch what is an input, a
label or a mask; ``inputs`` splits every batch that way, with the checks of ``labels`` and
``masks``. The result is the ``Batch`` of ``batches``. ``images`` reads folders of images, and
``text_files`` files of texts, which ``texts`` turns into tokens.
"""
