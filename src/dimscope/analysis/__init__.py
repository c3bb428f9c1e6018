"""Analysis: what follows from estimates of one cloud of points, or of two.

In: points or :class:`~dimscope.Neighbors`, with an estimator that reads neighbours; or two
:class:`~dimscope.Estimate` values of the same rows. Out: a value; each kind answers one question.
:class:`~dimscope.ScaleCurve`: is the dimension the same at all scales?
:class:`~dimscope.CurvatureTest`: do the points have fewer dimensions than their covariance implies?
:class:`~dimscope.Difference`: did the dimension change between two layers?

Begin reading at :mod:`dimscope.analysis.scale`; :mod:`~dimscope.analysis.curvature` and
:mod:`~dimscope.analysis.difference` stand alone.
"""
