"""Formats: list the arrays in a file of each format, and read them safely.

In: the path of a file. Out: its arrays by name, each a
:class:`~dimscope.arrays.formats.base.SavedArray`, listed without reading them where the format
allows it. No pickle is ever loaded.

Begin reading at ``registry.py``, which lists the formats and finds the one of a file. Each other
module reads one family of formats: ``numpy_files``, ``hdf5``, ``tensors`` (safetensors and
``torch.save``), ``text`` and ``parquet``.
"""
