"""Reports: profiles as one HTML page that works from disk, without a network.

In: one or several :class:`~dimscope.Profile`, and what :func:`dimscope.scale_curve` and
:func:`dimscope.spectrum` return for their layers. Out: a file with the figures, tables, diagnoses
and provenance, and the numbers to download. The browser draws the figures with the basic bundle of
plotly.js, which is part of the page.

Begin reading at :mod:`dimscope.reports.report`; :mod:`~dimscope.reports.contents` collects what the
page shows, and ``page.html``, ``page.css`` and ``page.js`` show it.
"""
