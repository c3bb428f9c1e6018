"""Analysis: questions answered by estimates on one set of points, or on two.

In: points or :class:`~dimscope.Neighbors`, with an estimator that uses neighbours; or two
:class:`~dimscope.Estimate` values on the same rows. Out: a value of one of these classes, each of
which answers one question. :class:`~dimscope.ScaleCurve`: is the dimension the same at all scales?
:class:`~dimscope.CurvatureTest`: do the points have fewer dimensions than their covariance implies?
:class:`~dimscope.Difference`: did the dimension change between two layers?

Begin reading at :mod:`dimscope.analysis.scale`; :mod:`~dimscope.analysis.curvature` stands alone.
:mod:`~dimscope.analysis.difference` compares only what :mod:`~dimscope.analysis.pairing` accepts.
"""
