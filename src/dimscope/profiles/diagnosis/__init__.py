"""Diagnosis: what a profile says, in sentences with a verdict.

In: a :class:`~dimscope.Profile`. Out: a :class:`~dimscope.Diagnosis`, one finding of each kind.

Begin reading at :mod:`~dimscope.profiles.diagnosis.diagnose`, which asks every rule: about the
:mod:`~dimscope.profiles.diagnosis.shape` of the profile, about single
:mod:`~dimscope.profiles.diagnosis.layers`, and about the
:mod:`~dimscope.profiles.diagnosis.reliability` of the numbers. All read the same
:mod:`~dimscope.profiles.diagnosis.evidence`.
"""
