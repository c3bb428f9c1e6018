"""Report: write profiles as one HTML page that needs nothing but a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

from dimscope.files import write_beside
from dimscope.profiles.profile import Profile
from dimscope.reports.contents import contents_of

if TYPE_CHECKING:
    from dimscope.analysis.scale import ScaleCurve
    from dimscope.estimators.spectra import Spectrum

    Curves: TypeAlias = ScaleCurve | Sequence[ScaleCurve]

__all__ = ["report"]


def report(
    profiles: Profile | Iterable[Profile],
    out: str | os.PathLike[str],
    *,
    curves: Mapping[str, Curves | Mapping[str, Curves]] | None = None,
    spectra: Mapping[str, Spectrum | Mapping[str, Spectrum]] | None = None,
) -> None:
    """Write profiles as one HTML page: figures, tables, diagnoses, and numbers to download.

    The page is a single file that works from disk and loads nothing.

    Parameters
    ----------
    profiles : Profile or iterable of Profile
        One network or several. Profiles of the same name are numbered.
    out : path
        The ``.html`` file to write.
    curves : Mapping, optional
        Layer name -> :class:`~dimscope.ScaleCurve`, or several of them, from
        :func:`dimscope.scale_curve` and :func:`dimscope.rank_curve`. For several profiles,
        profile name -> such a mapping.
    spectra : Mapping, optional
        Layer name -> :class:`~dimscope.Spectrum`, in the same way.

    Raises
    ------
    BadSource
        If the file cannot be written.
    ValueError
        If there is no profile, or curves or spectra belong to no layer of the profiles.

    Notes
    -----
    The same profiles give the same bytes. Names are shown as text, whatever markup they hold, and
    the page has a content security policy that forbids it to load or send anything.

    Differences between layers need the influences of the points: those of a profile that was just
    measured, or saved with ``influences=True``.

    Examples
    --------
    >>> import dimscope as ds
    >>> from pathlib import Path
    >>> from dimscope.files import TemporaryFolder
    >>> from dimscope.manifolds import cube
    >>> x = cube(500, 3)
    >>> profile = ds.profile(ds.Activations({"a": x[:, :2], "b": x}, name="net"))
    >>> folder = TemporaryFolder()
    >>> page = folder.path / "page.html"
    >>> ds.report(profile, page, spectra={"b": ds.spectrum(x)})
    >>> page.read_text(encoding="utf-8").startswith("<!doctype html>")
    True
    """
    if not isinstance(profiles, Iterable):
        raise TypeError(f"give profiles, as ds.profile returns them, not {type(profiles).__name__}")
    chosen = [profiles] if isinstance(profiles, Profile) else list(profiles)
    page = page_of(contents_of(chosen, curves, spectra))
    write_beside(out, lambda beside: beside.write_text(page, encoding="utf-8", newline="\n"))


def page_of(contents: Mapping[str, Any]) -> str:
    """Fill the template with what the page shows."""
    plotly, script = _part("plotly-basic.min.js"), _part("page.js")
    hashes = " ".join(f"'sha256-{_digest(code)}'" for code in (plotly, script))
    parts = {
        "title": escape(contents["title"]),
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'",
        "style": _part("page.css"),
        "licence": escape(_part("plotly-LICENSE.txt").strip()),
        "contents": _json(contents),
        "plotly": plotly,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _part("page.html"))


def _json(contents: Mapping[str, Any]) -> str:
    """Write JSON that cannot end the script element that holds it."""
    text = json.dumps(contents, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _part(name: str) -> str:
    return (files("dimscope.reports") / name).read_text(encoding="utf-8")


def _digest(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
