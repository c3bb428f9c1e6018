"""Profiles: the dimension of every layer of a network.

In: :class:`~dimscope.Activations`, in memory or in a store, and estimators. Out:
:class:`~dimscope.Profile`, which can be tabulated, drawn, saved and loaded,
:class:`~dimscope.Comparison`, which compares several networks, and :class:`~dimscope.Diagnosis`,
which says what one profile shows. No torch is loaded.

Begin reading at :mod:`dimscope.profiles.layerwise`, which measures activations layer by layer and
class by class; then read :mod:`~dimscope.profiles.profile`, which holds the results. The shape of a
profile (peak, differences, trends, bands) is built on :mod:`~dimscope.profiles.joint`.
"""
