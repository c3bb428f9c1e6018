"""Profiles: the dimension of every layer of a network.

In: :class:`~dimscope.Activations`, in memory or in a store, and estimators. Out:
:class:`~dimscope.Profile`, which is tabulated, drawn, saved and loaded, and
:class:`~dimscope.Comparison` of several networks. No torch is loaded.

Begin reading at :mod:`dimscope.profiles.layerwise`, which measures activations layer by layer, and
class by class; then :mod:`~dimscope.profiles.profile`, the value.
"""
