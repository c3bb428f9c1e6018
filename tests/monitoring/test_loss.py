import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

import dimscope as ds
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.manifolds import cube, embed, sphere
from dimscope.monitoring import id_loss
from tests.monitoring.training import digits, small_cnn


def cloud(n=40, features=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, features, generator=generator, dtype=dtype)


OPTIONS = [{}, {"discard": 0.0}, {"discard": 0.3}, {"k": 3}, {"k": 10}]


def estimator_of(options):
    k = options.get("k", 2)
    return ds.MLE(k) if k > 2 else ds.TwoNN(**options)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_loss_is_the_estimate_of_the_same_points(options, dtype, offset):
    x = (torch.tensor(embed(sphere(300, 3), 50)) + offset).to(dtype)
    expected = ds.estimate(x.numpy(), estimator_of(options)).dimension
    # float32 holds the differences of points at offset 1000 to 1e-4
    assert id_loss(x, **options).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradient_is_that_of_finite_differences(options):
    x = cloud().requires_grad_()
    assert gradcheck(lambda points: id_loss(points, **options), (x,))


def test_gradient_goes_through_a_network():
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    x = cloud()

    def loss_of(weight):
        return id_loss(torch.func.functional_call(net, {"0.weight": weight}, (x,)))

    assert gradcheck(loss_of, (net[0].weight.detach().clone().requires_grad_(),))


@pytest.mark.parametrize(("options", "sign"), [({}, 1), ({"k": 8}, 1), ({"k": 8}, -1)])
def test_descent_changes_the_dimension_in_the_direction_asked_for(options, sign):
    x = torch.tensor(cube(200, 6)).requires_grad_()
    before = id_loss(x, **options).item()
    optimizer = torch.optim.Adam([x], 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (sign * id_loss(x, **options)).backward()
        optimizer.step()
    assert sign * (before - id_loss(x, **options).item()) > 0.5
    assert torch.isfinite(x).all()


def test_loss_trains_a_network_to_fewer_dimensions():
    dimensions = []
    images, labels = (part[:256] for part in digits())
    for weight in (0.0, 0.3):
        model = small_cnn()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(30):
            hidden = model[:11](images)
            loss = nn.functional.cross_entropy(model[11:](hidden), labels)
            loss = loss + weight * id_loss(hidden, k=5) if weight else loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        dimensions.append(id_loss(model[:11](images), k=5).item())
    assert dimensions[1] < 0.8 * dimensions[0]


def test_repeated_rows_are_left_out_with_their_gradient():
    x = cloud()
    repeated = torch.cat([x, x[:7], x[:3]]).requires_grad_()
    value = id_loss(repeated)
    value.backward()
    assert value.item() == pytest.approx(id_loss(x).item())
    assert torch.isfinite(repeated.grad).all()
    assert (repeated.grad[40:] == 0).all()
    assert (repeated.grad[:7] != 0).any()


def test_many_copies_of_one_row_do_not_hide_the_others():
    x = cloud()
    copies = torch.cat([x[:1].expand(30, -1), x])
    assert float(id_loss(copies)) == pytest.approx(id_loss(x).item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x = cloud(100).to(dtype)
    value = id_loss(x)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(float(id_loss(x.float())))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert id_loss(x).item() == float(value)


def test_further_axes_are_flattened():
    x = cloud(40, 12)
    assert float(id_loss(x.reshape(40, 3, 2, 2))) == id_loss(x).item()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (cloud(2), BadPoints, "2 points have fewer than 2 neighbours"),
        (torch.zeros(20, 3), DegeneratePoints, "only 1 of 20 points are distinct"),
        (torch.eye(8), DegeneratePoints, "same distance"),
        (cloud() / 0, BadPoints, "NaN or infinity"),
        (torch.ones(20, 3, dtype=torch.long), BadPoints, "floating-point"),
        (torch.rand(20), BadPoints, "shape"),
        (np.ones((20, 3)), BadPoints, "ndarray"),
    ],
)
def test_points_without_dimension_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        id_loss(x)


@pytest.mark.parametrize("options", [{"k": 1}, {"k": 3, "discard": 0.1}, {"discard": 1.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=r"k is|discard"):
        id_loss(cloud(), **options)


# -- torchmetrics ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metric_of():
    pytest.importorskip("torchmetrics")
    return ds.monitoring.IDMetric


@pytest.mark.parametrize("options", OPTIONS)
def test_metric_of_one_batch_is_the_loss(metric_of, options):
    x = cloud().requires_grad_()
    metric = metric_of(**options)
    value = metric(x)
    assert value.item() == pytest.approx(id_loss(x, **options).item())
    assert float(metric.compute()) == pytest.approx(value.item())
    (gradient,) = torch.autograd.grad(value, x)
    (expected,) = torch.autograd.grad(id_loss(x, **options), x)
    torch.testing.assert_close(gradient, expected)


def test_metric_adds_up_the_batches_by_their_size(metric_of):
    batches = [cloud(30), cloud(50, seed=1)]
    metric = metric_of(discard=0.0)
    for batch in batches:
        metric.update(batch)
    sums = [(len(b) - 1) / float(id_loss(b, discard=0.0)) for b in batches]
    assert float(metric.compute()) == pytest.approx((30 + 50 - 1) / sum(sums))
    metric.reset()
    metric.update(batches[1])
    assert float(metric.compute()) == pytest.approx(float(id_loss(batches[1], discard=0.0)))


def test_metric_without_batches_is_nan(metric_of):
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        value = metric_of().compute()
    assert torch.isnan(value)
