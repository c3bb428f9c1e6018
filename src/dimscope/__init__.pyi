"""Public names of dimscope and where they live; loaded at first use."""

from . import monitoring
from .activations.activations import Activations, Layer
from .activations.saved import open_activations
from .activations.store import StoredActivations, open_store
from .analysis.curvature import CurvatureTest, curvature_test, surrogate
from .analysis.difference import Difference, difference
from .analysis.scale import ScaleCurve, rank_curve, scale_curve
from .arrays.files import read_points
from .arrays.memory import reused_memory
from .citations import cite
from .errors import (
    BadPoints,
    BadSource,
    ChangedNumbers,
    DegeneratePoints,
    DimscopeError,
    EstimatorsFailed,
    GuessedReading,
    HubDominates,
    Interrupted,
    NarrowRange,
    NearCopies,
    NearTies,
    OverBudget,
    PoorRecall,
    RepeatedPoints,
    ShortNeighbors,
    TiedPoints,
    TightGroups,
)
from .estimators.base import Estimator, Fit, NeighborEstimator, PointsEstimator, SpectralEstimator
from .estimators.corrections import Corrected
from .estimators.estimates import Estimate
from .estimators.gride import Gride
from .estimators.i3d import I3D
from .estimators.linear import PCA, EffectiveRank, ParticipationRatio
from .estimators.measure import estimate
from .estimators.mle import MLE, local_dimension
from .estimators.resampled import Resampled
from .estimators.skdim import SkDim
from .estimators.spectra import Gap, Spectrum, spectrum
from .estimators.two_nn import TwoNN
from .monitoring.monitor import IDMonitor
from .neighbors.engines import (
    Approximate,
    Engine,
    Exact,
    Guarantee,
    Sampled,
    SearchResult,
    Sketched,
)
from .neighbors.neighbors import Neighbors
from .neighbors.search import nearest_neighbors
from .networks.capturing.capture import capture, plan
from .networks.capturing.plan import Plan
from .networks.data.texts import texts
from .networks.models import load_model
from .networks.preprocessing import Preprocessing, image_folder, preprocessing_of
from .networks.profile_network import profile
from .profiles.averages import average_profiles
from .profiles.comparison import Comparison, compare
from .profiles.diagnosis.diagnose import diagnose
from .profiles.diagnosis.findings import Diagnosis, Finding
from .profiles.differences import Differences
from .profiles.matched import profile_at_scale
from .profiles.peak import Peak
from .profiles.profile import Profile
from .profiles.trends import ShapeTest, Trend
from .progress import ProgressBar
from .provenance import Provenance
from .reports.report import report

__all__ = [
    "I3D",
    "MLE",
    "PCA",
    "Activations",
    "Approximate",
    "BadPoints",
    "BadSource",
    "ChangedNumbers",
    "Comparison",
    "Corrected",
    "CurvatureTest",
    "DegeneratePoints",
    "Diagnosis",
    "Difference",
    "Differences",
    "DimscopeError",
    "EffectiveRank",
    "Engine",
    "Estimate",
    "Estimator",
    "EstimatorsFailed",
    "Exact",
    "Finding",
    "Fit",
    "Gap",
    "Gride",
    "Guarantee",
    "GuessedReading",
    "HubDominates",
    "IDMonitor",
    "Interrupted",
    "Layer",
    "NarrowRange",
    "NearCopies",
    "NearTies",
    "NeighborEstimator",
    "Neighbors",
    "OverBudget",
    "ParticipationRatio",
    "Peak",
    "Plan",
    "PointsEstimator",
    "PoorRecall",
    "Preprocessing",
    "Profile",
    "ProgressBar",
    "Provenance",
    "RepeatedPoints",
    "Resampled",
    "Sampled",
    "ScaleCurve",
    "SearchResult",
    "ShapeTest",
    "ShortNeighbors",
    "SkDim",
    "Sketched",
    "SpectralEstimator",
    "Spectrum",
    "StoredActivations",
    "TiedPoints",
    "TightGroups",
    "Trend",
    "TwoNN",
    "average_profiles",
    "capture",
    "cite",
    "compare",
    "curvature_test",
    "diagnose",
    "difference",
    "estimate",
    "image_folder",
    "load_model",
    "local_dimension",
    "monitoring",
    "nearest_neighbors",
    "open_activations",
    "open_store",
    "plan",
    "preprocessing_of",
    "profile",
    "profile_at_scale",
    "rank_curve",
    "read_points",
    "report",
    "reused_memory",
    "scale_curve",
    "spectrum",
    "surrogate",
    "texts",
]

__version__: str
