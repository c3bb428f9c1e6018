"""Public names of dimscope, loaded at first use."""

from .activations.activations import Activations as Activations
from .activations.activations import Layer as Layer
from .activations.store import StoredActivations as StoredActivations
from .activations.store import open_store as open_store
from .analysis.curvature import (
    CurvatureTest as CurvatureTest,
)
from .analysis.curvature import (
    curvature_test as curvature_test,
)
from .analysis.curvature import (
    surrogate as surrogate,
)
from .analysis.difference import Difference as Difference
from .analysis.difference import difference as difference
from .analysis.scale import (
    ScaleCurve as ScaleCurve,
)
from .analysis.scale import (
    rank_curve as rank_curve,
)
from .analysis.scale import (
    scale_curve as scale_curve,
)
from .errors import (
    BadPoints as BadPoints,
)
from .errors import (
    BadSource as BadSource,
)
from .errors import (
    DegeneratePoints as DegeneratePoints,
)
from .errors import (
    DimscopeError as DimscopeError,
)
from .errors import (
    PoorRecall as PoorRecall,
)
from .errors import (
    TiedPoints as TiedPoints,
)
from .estimators.base import (
    Estimator as Estimator,
)
from .estimators.base import (
    Fit as Fit,
)
from .estimators.base import (
    NeighborEstimator as NeighborEstimator,
)
from .estimators.base import (
    PointsEstimator as PointsEstimator,
)
from .estimators.base import (
    SpectralEstimator as SpectralEstimator,
)
from .estimators.corrections import Corrected as Corrected
from .estimators.estimates import Estimate as Estimate
from .estimators.gride import Gride as Gride
from .estimators.i3d import I3D as I3D
from .estimators.linear import PCA as PCA
from .estimators.linear import ParticipationRatio as ParticipationRatio
from .estimators.measure import estimate as estimate
from .estimators.mle import MLE as MLE
from .estimators.mle import local_dimension as local_dimension
from .estimators.resampled import Resampled as Resampled
from .estimators.skdim import SkDim as SkDim
from .estimators.spectra import Gap as Gap
from .estimators.spectra import Spectrum as Spectrum
from .estimators.spectra import spectrum as spectrum
from .estimators.two_nn import TwoNN as TwoNN
from .neighbors.engines import (
    Approximate as Approximate,
)
from .neighbors.engines import (
    Engine as Engine,
)
from .neighbors.engines import (
    Exact as Exact,
)
from .neighbors.engines import (
    Sampled as Sampled,
)
from .neighbors.engines import (
    Sketched as Sketched,
)
from .neighbors.neighbors import Neighbors as Neighbors
from .neighbors.search import nearest_neighbors as nearest_neighbors
from .networks.capturing.capture import capture as capture
from .networks.capturing.capture import plan as plan
from .networks.capturing.data import image_folder as image_folder
from .networks.capturing.plan import Plan as Plan
from .networks.models import load_model as load_model
from .networks.profile_network import profile as profile
from .profiles.comparison import Comparison as Comparison
from .profiles.comparison import compare as compare
from .profiles.profile import Profile as Profile
from .provenance import Provenance as Provenance

__version__: str
__all__: list[str]
