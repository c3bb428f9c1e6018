"""Cases of names, samplers and estimators."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

import dimscope as ds
from dimscope import manifolds
from recorded.casebook import case, uneven
from recorded.plain import (
    estimate,
    frame,
    noted,
    plain,
    refusal,
    short,
)


@case()
def first_points_of_every_sampler() -> Any:
    found: dict[str, Any] = {}
    for name in sorted(set(manifolds.__all__) - {"embed"}):
        sampler = getattr(manifolds, name)
        found[name] = {"0": plain(sampler(4, 2)), "7": plain(sampler(3, 3, seed=7))}
    found["embed"] = plain(manifolds.embed(manifolds.cube(4, 2), 5, seed=1))
    found["refused"] = refusal(lambda: manifolds.embed(manifolds.cube(4, 3), 2))
    return found


@case()
def two_nn_likelihood_on_torus_at_several_discards() -> Any:
    cloud = manifolds.torus(600, 3)
    return {str(p): short(ds.TwoNN(discard=p)(cloud)) for p in (0, 0.05, 0.1, 0.3, 0.7)}


@case()
def two_nn_regression_on_torus_at_several_discards() -> Any:
    cloud = manifolds.torus(600, 3)
    return {
        str(p): short(ds.TwoNN(fit="regression", discard=p)(cloud)) for p in (0, 0.05, 0.1, 0.3)
    }


@case()
def two_nn_triplets_on_torus_with_several_seeds() -> Any:
    cloud = manifolds.torus(600, 3)
    found = {str(seed): estimate(ds.TwoNN(fit="triplets", seed=seed)(cloud)) for seed in (0, 1, 17)}
    found["discard"] = estimate(ds.TwoNN(fit="triplets", discard=0.4)(cloud))
    return found


@case()
def two_nn_on_manifolds_of_several_kinds() -> Any:
    clouds = {
        "cube": manifolds.cube(400, 2),
        "gaussian": manifolds.gaussian(400, 5),
        "ball": manifolds.ball(400, 3),
        "sphere": manifolds.sphere(400, 4),
        "swiss_roll": manifolds.swiss_roll(400, 2),
        "paraboloid": manifolds.paraboloid(400, 3),
        "student": manifolds.student(400, 6),
        "logistic": manifolds.logistic(400, 6),
    }
    return {name: short(ds.TwoNN()(cloud)) for name, cloud in clouds.items()}


@case()
def all_fields_of_an_estimate_on_swiss_roll() -> Any:
    return estimate(ds.estimate(manifolds.swiss_roll(700, 2, seed=4)))


@case()
def lower_bounds_with_a_corrected_dimension() -> Any:
    clouds = {"30": manifolds.gaussian(800, 30), "60": manifolds.cube(1000, 60, seed=2)}
    found: dict[str, Any] = {
        f"{d} {fit}": estimate(ds.TwoNN(fit=fit)(cloud))
        for d, cloud in clouds.items()
        for fit in ("mle", "regression", "triplets")
    }
    found["too few for the table"] = estimate(ds.TwoNN()(manifolds.gaussian(60, 30)))
    return found


@case()
def intervals_of_estimates_made_by_hand() -> Any:
    made = [
        ds.Estimate(10.0, 1.0),
        ds.Estimate(0.7, 0.2, n_points=12),
        ds.Estimate(25.3, 0.8, n_points=2000, is_lower_bound=True),
        ds.Estimate(5.0, 0.4, degrees_of_freedom=3),
        ds.Estimate(3.0),
        ds.Estimate(float("nan"), reason="all points are the same"),
        ds.Estimate(4.0, 0.0123, n_points=9, n_queries=5),
    ]
    return {
        "texts": [[str(one), repr(one), float(one)] for one in made[:5]] + [str(made[5])],
        "intervals": [[plain(one.interval_at(p)) for p in (0.5, 0.8, 0.95, 0.999)] for one in made],
        "refused": refusal(lambda: made[0].interval_at(1.0)),
        "read back": [
            estimate(ds.Estimate.from_dict(json.loads(json.dumps(one.to_dict())))) for one in made
        ],
        "written": plain([one.to_dict() for one in made]),
    }


@case()
def gride_at_several_ranks() -> Any:
    cloud = manifolds.torus(600, 3, seed=5)
    ranks = [(1, 2), (1, 3), (2, 3), (2, 4), (3, 9), (4, 8), (8, 16), (16, 64)]
    return {f"{n1}, {n2}": short(ds.Gride(n1, n2)(cloud)) for n1, n2 in ranks}


@case()
def mle_over_several_neighbours_and_both_averages() -> Any:
    cloud = manifolds.swiss_roll(600, 3, seed=6)
    return {
        f"{k} {average}": short(ds.MLE(k, average)(cloud))
        for k in (3, 5, 10, 25)
        for average in ("inverse", "dimension")
    }


@case()
def local_dimension_of_a_line_and_a_sheet() -> Any:
    line = np.pad(manifolds.cube(150, 1), ((0, 0), (0, 2)))
    sheet = np.pad(manifolds.cube(150, 2, seed=1), ((0, 0), (0, 1))) + 9
    cloud = np.concatenate([line, sheet])
    found = {str(k): ds.local_dimension(cloud, k) for k in (5, 20)}
    neighbors = ds.nearest_neighbors(cloud, 20)
    repeated = np.concatenate([cloud, cloud[:3]])
    return {
        "values": {k: plain(one[::10]) for k, one in found.items()},
        "means": {
            k: [float(one[:150].mean()), float(one[150:].mean())] for k, one in found.items()
        },
        "same of given neighbours": bool(
            np.array_equal(ds.local_dimension(neighbors), found["20"])
        ),
        "repeats": refusal(lambda: ds.local_dimension(repeated)),
        "too few": refusal(lambda: ds.local_dimension(neighbors, 21)),
    }


@case()
def resampled_estimators_of_every_kind() -> Any:
    cloud = manifolds.sphere(400, 3, seed=7)
    several = {
        "default": ds.Resampled(),
        "paper": ds.Resampled(ds.TwoNN(fit="regression"), n=5, keep=0.9),
        "half": ds.Resampled(ds.Gride(2, 4), n=4, keep=0.5, seed=3),
        "mle": ds.Resampled(ds.MLE(8), n=3, keep=0.7, seed=1),
        "few kept": ds.Resampled(ds.TwoNN(fit="triplets"), n=2, keep=0.1),
    }
    found: dict[str, Any] = {name: estimate(one(cloud)) for name, one in several.items()}
    found["subsets"] = plain(list(several["half"].subsets(12)))
    found["names"] = {name: [one.name, one.ranks, one.wished] for name, one in several.items()}
    return found


@case()
def i3d_of_counts_and_of_tokens() -> Any:
    rng = np.random.default_rng(8)
    counts, tokens = rng.integers(0, 60, (500, 2)), rng.integers(0, 4, (400, 12))
    line = np.column_stack([counts[:, 0], 2 * counts[:, 0], counts[:, 1]])
    return {
        "radii given": estimate(ds.I3D(far=8, near=4)(counts)),
        "far given": estimate(ds.I3D(far=6)(counts)),
        "radii found": estimate(ds.I3D()(line)),
        "as floats": estimate(ds.I3D()(line.astype(float))),
        "hamming": estimate(ds.I3D(metric="hamming")(tokens)),
        "not whole": refusal(lambda: ds.I3D()(counts + 0.5)),
    }


@case()
def linear_dimensions_plain_and_normalized() -> Any:
    cloud = manifolds.gaussian(400, 12, seed=9) * np.arange(1, 13) ** 2
    several = {
        "pca 0.5": ds.PCA(variance=0.5),
        "pca 0.9": ds.PCA(),
        "pca 0.99 normalized": ds.PCA(variance=0.99, normalized=True),
        "ratio": ds.ParticipationRatio(),
        "ratio normalized": ds.ParticipationRatio(normalized=True),
    }
    wide = uneven(60, 200)
    return {
        "tall": {name: estimate(one(cloud)) for name, one in several.items()},
        "wide": {name: estimate(one(wide)) for name, one in several.items()},
    }


@case()
def spectra_their_gaps_and_components() -> Any:
    tall = manifolds.gaussian(300, 10, seed=10) * 2.0 ** -np.arange(10)
    gapped = np.column_stack(
        [manifolds.cube(300, 3, seed=1), 0.01 * manifolds.gaussian(300, 9, seed=2)]
    )
    wide = manifolds.gaussian(40, 90, seed=11)
    flat = np.column_stack([manifolds.cube(100, 2), np.full((100, 4), 7.0)])
    clouds = {"tall": tall, "gapped": gapped, "wide": wide}
    found: dict[str, Any] = {}
    for name, cloud in clouds.items():
        for normalized in (False, True):
            one = ds.spectrum(cloud, normalized=normalized)
            # of a wide cloud the last value would be zero but for rounding, and is left out
            found[f"{name} {normalized}"] = {
                "eigenvalues": plain(one.eigenvalues[:38]),
                "size": [len(one.eigenvalues), one.n_points, one.n_features],
                "components": [one.components(p) for p in (0.1, 0.5, 0.9, 0.99)],
                "participation_ratio": one.participation_ratio,
                "gap": plain(one.gap()),
                "provenance": plain(one.provenance),
            }
    found["rank 2"] = plain(ds.spectrum(flat).gap())
    found["too few"] = refusal(lambda: ds.spectrum(flat[:, :2]).gap())
    found["all the same"] = refusal(lambda: ds.spectrum(np.ones((5, 3))))
    return found


@case("skdim", tolerance=1e-9)
def estimators_of_scikit_dimension() -> Any:
    """Their own linear algebra is not ours: 1e-9."""
    cloud = manifolds.cube(150, 3, seed=12)
    several = [ds.SkDim("MOM"), ds.SkDim("lPCA", {"ver": "ratio", "alphaRatio": 0.8})]
    notes: list[list[str]] = []
    with noted(notes):
        found: dict[str, Any] = {one.name: estimate(one(cloud)) for one in several}
    found["unknown"] = refusal(lambda: ds.SkDim("Nothing")(cloud))["says"][:40]
    return found


@dataclass(frozen=True)
class MedianRatio(ds.NeighborEstimator):
    """From the median of the ratios, with scores and the third neighbour."""

    weight: float = 1.0

    @property
    def ranks(self) -> int:
        return 3

    def evaluate(self, neighbors: ds.Neighbors) -> ds.Fit:
        ratio = neighbors.distances[:, 2] / neighbors.distances[:, 0]
        scores = self.weight * (ratio - ratio.mean())
        return ds.Fit(float(np.median(ratio)), scores, len(ratio), 3, 0.25)


@dataclass(frozen=True)
class Effective(ds.SpectralEstimator):
    """The trace over the largest eigenvalue."""

    def evaluate(self, spectrum: ds.Spectrum) -> float:
        return float(spectrum.eigenvalues.sum() / spectrum.eigenvalues[0])


@dataclass(frozen=True)
class Spread(ds.PointsEstimator):
    """The sum of the features over the largest of them."""

    def evaluate(self, points: Any) -> float:
        extent = np.ptp(points, axis=0)
        return float(extent.sum() / extent.max())


@case()
def estimators_that_a_user_defines() -> Any:
    cloud = manifolds.torus(300, 2, seed=13)
    cloud = np.concatenate([cloud, cloud[:4]])
    several = {
        "neighbours": MedianRatio(),
        "weighted": MedianRatio(2.0),
        "resampled": ds.Resampled(MedianRatio(), n=3),
        "spectral": Effective(),
        "spectral normalized": Effective(normalized=True),
        "points": Spread(),
    }
    return {
        "alone": {name: estimate(one(cloud)) for name, one in several.items()},
        "together": {name: short(one) for name, one in ds.estimate(cloud, several).items()},
        "names": {name: [one.name, one.ranks, one.wished] for name, one in several.items()},
        "curve": frame(ds.scale_curve(cloud, MedianRatio(), blocks=[1, 2, 4]).to_frame()),
    }


@case()
def several_estimators_from_one_search() -> Any:
    cloud = manifolds.torus(300, 2, seed=14)
    several = [ds.TwoNN(), ds.TwoNN(fit="regression"), ds.Gride(), ds.MLE(5), ds.PCA(), ds.TwoNN()]
    by_name = {"a": ds.ParticipationRatio(), "b": ds.Resampled(n=3), "c": ds.MLE(7)}
    return {
        "list": {name: estimate(one) for name, one in ds.estimate(cloud, several).items()},
        "dictionary": {name: short(one) for name, one in ds.estimate(cloud, by_name).items()},
        "class": refusal(lambda: ds.estimate(cloud, ds.TwoNN)),
        "text": refusal(lambda: ds.estimate(cloud, "twonn")),
        "labels": refusal(lambda: ds.estimate(cloud, np.zeros(300))),
        "none": refusal(lambda: ds.estimate(cloud, [])),
    }


@case()
def estimators_as_text_and_their_refusals() -> Any:
    made = [
        ds.TwoNN(),
        ds.Gride(),
        ds.MLE(),
        ds.I3D(),
        ds.PCA(),
        ds.ParticipationRatio(),
        ds.Resampled(),
        ds.SkDim("MOM"),
        ds.Exact(),
        ds.Sketched(),
        ds.Sampled(),
        ds.Approximate(),
    ]
    refused = [
        lambda: ds.TwoNN(fit="best"),
        lambda: ds.TwoNN(discard=1.0),
        lambda: ds.Gride(4, 4),
        lambda: ds.MLE(2),
        lambda: ds.MLE(5, "median"),
        lambda: ds.I3D(near=2),
        lambda: ds.I3D(far=2, near=2),
        lambda: ds.I3D(metric="euclidean"),
        lambda: ds.PCA(variance=1),
        lambda: ds.Resampled(n=1),
        lambda: ds.Resampled(keep=1.0),
        lambda: ds.Resampled(ds.PCA()),
        lambda: ds.Sketched(failure=0),
        lambda: ds.Sampled(rtol=2),
        lambda: ds.Approximate("annoy"),
        lambda: ds.Approximate(sample=0),
    ]
    return {
        "made": [[repr(one), getattr(one, "name", ""), getattr(one, "ranks", 0)] for one in made],
        "refused": [refusal(one) for one in refused],
        "equal": [ds.TwoNN() == ds.TwoNN(discard=0.1), hash(ds.Gride()) == hash(ds.Gride(2, 4))],
    }


@case("sklearn")
def the_estimator_for_scikit_learn() -> Any:
    from dimscope.sklearn import IntrinsicDimension

    cloud = manifolds.torus(300, 2, seed=15)
    plain_one = IntrinsicDimension().fit(cloud)
    gride = IntrinsicDimension(ds.Gride(1, 3)).fit(cloud.tolist())
    return {
        "default": [plain_one.dimension_, plain_one.std_error_, plain_one.n_features_in_],
        "estimate": estimate(gride.estimate_),
        "text": repr(IntrinsicDimension(ds.MLE(5))),
        "parameters": sorted(IntrinsicDimension().get_params()),
        "refused": refusal(lambda: IntrinsicDimension("twonn").fit(cloud)),
    }
