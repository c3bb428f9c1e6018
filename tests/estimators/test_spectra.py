"""Spectra against plain NumPy."""

import numpy as np
import pytest

from dimscope import PCA, EffectiveRank, ParticipationRatio, estimate, spectrum
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.estimators import spectra
from dimscope.manifolds import embed, gaussian
from dimscope.neighbors.search import nearest_neighbors

RNG = np.random.default_rng(0)
TALL = RNG.standard_normal((300, 40)) @ RNG.standard_normal((40, 40)) + 5
WIDE = RNG.standard_normal((60, 25)) @ RNG.standard_normal((25, 700)) + 5
each_shape = pytest.mark.parametrize("points", [TALL, WIDE], ids=["tall", "wide"])


def plain(points, normalized):
    centred = points - points.mean(axis=0)
    if normalized:
        centred = centred / centred.std(axis=0, ddof=1)
    singular = np.linalg.svd(centred, compute_uv=False)
    return (singular**2 / (len(points) - 1))[: min(len(points) - 1, points.shape[1])]


@each_shape
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("values", [1 << 22, 500])
def test_spectrum_equals_a_plain_svd(points, normalized, values, monkeypatch):
    monkeypatch.setattr(spectra, "_VALUES", values)
    result = spectrum(points, normalized=normalized)
    expected = plain(points, normalized)
    np.testing.assert_allclose(result.eigenvalues, expected, atol=1e-10 * expected[0])
    assert (result.n_points, result.n_features) == points.shape


@each_shape
@pytest.mark.parametrize("factor", [1e-25, 1e25, 1e100])
def test_spectrum_at_any_scale(points, factor):
    eigenvalues = spectrum(points * factor).eigenvalues / factor / factor
    np.testing.assert_allclose(eigenvalues, spectrum(points).eigenvalues, rtol=1e-9, atol=1e-9)
    again = spectrum(points * factor, normalized=True).eigenvalues
    np.testing.assert_allclose(again, spectrum(points, normalized=True).eigenvalues, atol=1e-9)


@each_shape
def test_spectrum_loses_few_digits_to_a_large_mean(points):
    np.testing.assert_allclose(
        spectrum(points + 1e6).eigenvalues, spectrum(points).eigenvalues, rtol=1e-7, atol=1e-7
    )


@each_shape
def test_normalised_spectrum_sums_to_the_features_that_vary(points):
    constant = points.copy()
    constant[:, 3] = 7.1
    total = spectrum(constant, normalized=True).eigenvalues.sum()
    assert total == pytest.approx(points.shape[1] - 1)


def test_spectrum_of_float32_and_integers():
    whole = np.round(TALL * 10).astype(int)
    as_floats = spectrum(whole.astype(float)).eigenvalues
    np.testing.assert_allclose(spectrum(whole).eigenvalues, as_floats)
    np.testing.assert_allclose(spectrum(whole.astype(np.float32)).eigenvalues, as_floats)


@pytest.mark.parametrize("shape", [(10, 3), (5, 30)])
def test_spectrum_refuses_points_that_are_all_the_same(shape):
    with pytest.raises(DegeneratePoints, match="have no variance"):
        spectrum(np.full(shape, 0.1))


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
@each_shape
def test_pca_counts_the_fewest_components_that_reach_the_variance(points, variance):
    values = plain(points, False)
    k = int(PCA(variance=variance)(points).dimension)
    assert values[:k].sum() >= variance * values.sum() > values[: k - 1].sum()


def test_components_of_exact_shares():
    assert spectra.Spectrum(np.full(10, 0.1), 20, 10).components(0.9) == 9


def test_participation_ratio_equals_the_formula():
    values = plain(WIDE, False)
    expected = values.sum() ** 2 / (values**2).sum()
    assert float(ParticipationRatio()(WIDE)) == pytest.approx(expected)


@each_shape
@pytest.mark.parametrize("normalized", [False, True])
def test_effective_rank_is_the_exponential_of_the_entropy(points, normalized):
    values = plain(points, normalized)
    share = values[values > 1e-12] / values.sum()
    expected = np.prod(share**-share)
    assert float(EffectiveRank(normalized)(points)) == pytest.approx(expected)


def test_effective_rank_counts_equal_eigenvalues_and_halves_of_them():
    equal = spectra.Spectrum(np.array([2.0] * 7 + [0.0] * 5), 20, 12)
    assert equal.effective_rank == pytest.approx(7)
    assert spectra.Spectrum(np.array([2.0, 1, 1]), 20, 3).effective_rank == pytest.approx(8**0.5)


def test_effective_rank_lies_between_the_participation_ratio_and_the_rank():
    values = spectrum(TALL)
    assert values.participation_ratio < values.effective_rank < 40


@pytest.mark.parametrize(("n", "width"), [(100, 1000), (1000, 1000), (2000, 100)])
def test_participation_ratio_of_noise_is_biased_as_documented(n, width):
    measured = spectrum(np.random.default_rng(1).standard_normal((n, width))).participation_ratio
    assert measured == pytest.approx(n * width / (n + width), rel=0.02)
    assert measured / (1 - measured / n) == pytest.approx(width, rel=0.2)


@pytest.mark.parametrize("variance", [0, 1, 90, float("nan")])
def test_pca_refuses_a_variance_outside_0_and_1(variance):
    with pytest.raises(ValueError, match="between 0 and 1"):
        PCA(variance=variance)


def test_pca_refuses_neighbors():
    with pytest.raises(BadPoints, match="needs the points themselves"):
        estimate(nearest_neighbors(TALL), PCA())


def test_estimate_computes_each_spectrum_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        "dimscope.estimators.inputs.spectrum",
        lambda points, normalized, memory: made.append(normalized) or spectrum(points),
    )
    estimate(TALL, [PCA(), PCA(variance=0.5), ParticipationRatio(), PCA(normalized=True)])
    assert made == [False, True]


def test_spectrum_counts_repeated_rows():
    twice = np.concatenate([TALL, TALL])
    expected = plain(twice, False)
    np.testing.assert_allclose(spectrum(twice).eigenvalues, expected, rtol=1e-9)


@pytest.mark.parametrize("planted", [1, 3, 12])
def test_gap_finds_a_planted_gap(planted):
    rng = np.random.default_rng(planted)
    points = embed(gaussian(400, planted), 60) + 0.02 * rng.standard_normal((400, 60))
    gap = spectrum(points).gap()
    assert gap.after == planted
    assert gap.p_value < 1e-4
    exact = spectrum(embed(gaussian(400, planted), 60)).gap()
    assert (exact.after, exact.ratio, exact.p_value) == (planted, np.inf, 0)


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_gap_is_seldom_found_in_smooth_spectra(power):
    spread = np.arange(1, 81.0) ** -power
    p_values = [spectrum(gaussian(300, 80, seed) * spread).gap().p_value for seed in range(60)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.1


@pytest.mark.parametrize(("lead", "seen", "unseen"), [(1, 20, 5), (2, 10, 2), (10, 5, 1.5)])
def test_gap_after_few_eigenvalues_needs_the_documented_ratio(lead, seen, unseen):
    def gap(ratio):
        spread = np.where(np.arange(40) < lead, np.sqrt(ratio), 1)
        return spectrum(gaussian(500, 40, seed=3) * spread).gap()

    assert gap(seen).after == lead
    assert gap(seen).p_value < 0.05 < gap(unseen).p_value


def test_gap_refuses_fewer_than_3_eigenvalues():
    with pytest.raises(DegeneratePoints, match="at least 3 eigenvalues"):
        spectrum(gaussian(10, 2)).gap()


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_spectrum_refuses_variances_out_of_range(scale):
    with pytest.raises(BadPoints, match="does not hold variances of that size"):
        spectrum(gaussian(50, 5) * scale)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("factor", [1e-20, 5e13, 1e100])
def test_normalized_spectrum_counts_features_of_any_size(wide, factor):
    points = gaussian(500, 4) if not wide else np.random.default_rng(0).standard_normal((50, 80))
    scaled = points * np.r_[factor, np.ones(points.shape[1] - 1)]
    expected = spectrum(points, normalized=True).eigenvalues
    eigenvalues = spectrum(scaled, normalized=True).eigenvalues
    np.testing.assert_allclose(eigenvalues, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("constant", [1e8 / 3, 1e14, 1e140])
@pytest.mark.parametrize("normalized", [False, True])
def test_spectrum_ignores_a_constant_feature(constant, normalized):
    points = gaussian(500, 6) * 1e-8
    widened = np.c_[np.full(500, constant), points]
    eigenvalues = spectrum(widened, normalized=normalized).eigenvalues
    expected = spectrum(points, normalized=normalized).eigenvalues
    np.testing.assert_allclose(eigenvalues[:6], expected, rtol=1e-9)
    assert eigenvalues[6] <= 1e-12 * eigenvalues[0]
