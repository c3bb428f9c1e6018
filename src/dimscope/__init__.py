"""dimscope: how many dimensions a neural network really uses, layer by layer.

>>> import dimscope as ds
>>> from dimscope.manifolds import embed, sphere
>>> ds.estimate(embed(sphere(2000, 3), 100))
Estimate(3.04 ± 0.09, n=2000)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. They are loaded at first use: `import dimscope`
# itself loads NumPy at most, never torch, SciPy, pandas or matplotlib.
_HOMES = {
    "Activations": "activations",
    "Approximate": "neighbors",
    "BadPoints": "errors",
    "BadSource": "errors",
    "DegeneratePoints": "errors",
    "Comparison": "comparison",
    "Corrected": "corrections",
    "CurvatureTest": "curvature",
    "Difference": "contrasts",
    "DimscopeError": "errors",
    "Estimate": "estimates",
    "Exact": "neighbors",
    "Fit": "estimators",
    "Gap": "spectra",
    "Gride": "estimators",
    "I3D": "estimators",
    "Layer": "activations",
    "MLE": "estimators",
    "PCA": "estimators",
    "ParticipationRatio": "estimators",
    "Estimator": "estimators",
    "SpectralEstimator": "estimators",
    "ScaleCurve": "curves",
    "Sampled": "neighbors",
    "Sketched": "neighbors",
    "Spectrum": "spectra",
    "rank_curve": "scales",
    "scale_curve": "scales",
    "spectrum": "spectra",
    "surrogate": "surrogates",
    "NeighborEstimator": "estimators",
    "Neighbors": "neighbors",
    "Profile": "profiles",
    "PoorRecall": "errors",
    "Provenance": "provenance",
    "Resampled": "estimators",
    "TiedPoints": "errors",
    "TwoNN": "estimators",
    "PointsEstimator": "estimators",
    "SkDim": "estimators",
    "Plan": "plans",
    "StoredActivations": "store",
    "capture": "capturing",
    "image_folder": "capturing",
    "compare": "comparison",
    "curvature_test": "curvature",
    "difference": "contrasts",
    "estimate": "measuring",
    "load_model": "sources",
    "local_dimension": "estimators",
    "nearest_neighbors": "neighbors",
    "open_store": "store",
    "plan": "capturing",
    "profile": "profiling",
}

__all__ = [
    "I3D",
    "MLE",
    "PCA",
    "Activations",
    "Approximate",
    "BadPoints",
    "BadSource",
    "Comparison",
    "Corrected",
    "CurvatureTest",
    "DegeneratePoints",
    "Difference",
    "DimscopeError",
    "Estimate",
    "Estimator",
    "Exact",
    "Fit",
    "Gap",
    "Gride",
    "Layer",
    "NeighborEstimator",
    "Neighbors",
    "ParticipationRatio",
    "Plan",
    "PointsEstimator",
    "PoorRecall",
    "Profile",
    "Provenance",
    "Resampled",
    "Sampled",
    "ScaleCurve",
    "SkDim",
    "Sketched",
    "SpectralEstimator",
    "Spectrum",
    "StoredActivations",
    "TiedPoints",
    "TwoNN",
    "capture",
    "compare",
    "curvature_test",
    "difference",
    "estimate",
    "image_folder",
    "load_model",
    "local_dimension",
    "nearest_neighbors",
    "open_store",
    "plan",
    "profile",
    "rank_curve",
    "scale_curve",
    "spectrum",
    "surrogate",
]

if TYPE_CHECKING:
    from dimscope.activations import Activations, Layer
    from dimscope.capturing import capture, image_folder, plan
    from dimscope.comparison import Comparison, compare
    from dimscope.contrasts import Difference, difference
    from dimscope.corrections import Corrected
    from dimscope.curvature import CurvatureTest, curvature_test
    from dimscope.curves import ScaleCurve
    from dimscope.errors import (
        BadPoints,
        BadSource,
        DegeneratePoints,
        DimscopeError,
        PoorRecall,
        TiedPoints,
    )
    from dimscope.estimates import Estimate
    from dimscope.estimators import (
        I3D,
        MLE,
        PCA,
        Estimator,
        Fit,
        Gride,
        NeighborEstimator,
        ParticipationRatio,
        PointsEstimator,
        Resampled,
        SkDim,
        SpectralEstimator,
        TwoNN,
        local_dimension,
    )
    from dimscope.measuring import estimate
    from dimscope.neighbors import (
        Approximate,
        Exact,
        Neighbors,
        Sampled,
        Sketched,
        nearest_neighbors,
    )
    from dimscope.plans import Plan
    from dimscope.profiles import Profile
    from dimscope.profiling import profile
    from dimscope.provenance import Provenance
    from dimscope.scales import rank_curve, scale_curve
    from dimscope.sources import load_model
    from dimscope.spectra import Gap, Spectrum, spectrum
    from dimscope.store import StoredActivations, open_store
    from dimscope.surrogates import surrogate


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"dimscope.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'dimscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
