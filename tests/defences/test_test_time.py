"""Test-time defences on a linear encoder, against plain loops in numpy, and their derivatives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.attacks.objectives import alike
from stages.defences import views as module
from stages.defences.anti_adversary import anti_adversary
from stages.defences.clipure import clipure_cos
from stages.defences.csr import csr, low_pass
from stages.defences.et3 import et3
from stages.defences.inner import Apart, Closed, Constant, Unrolled
from stages.defences.r_tpt import r_tpt
from stages.defences.random_noise import random_noise
from stages.defences.ttc import ttc
from stages.defences.undefended import Undefended, Wording
from stages.defences.views import random_crop, tte, view_ensemble

N, K, D, S = 3, 4, 5, 8
WAYS = [Constant(), Unrolled()]


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def weight() -> torch.Tensor:
    return draw(D, 3 * S * S, seed=1)


@pytest.fixture
def texts() -> torch.Tensor:
    return draw(K, D, seed=2)


@pytest.fixture
def model(weight, texts) -> Undefended:
    """Linear features, and logits that are linear in them: every gradient is known."""
    return Undefended(
        lambda images: images.flatten(1) @ weight.T,
        lambda features, other=texts: features @ other.transpose(-1, -2),
        Constant().combine,
    )


@pytest.fixture
def images() -> torch.Tensor:
    """Images (N, 3, S, S) away from 0 and 1, where nothing is clamped."""
    return 0.5 + 0.1 * draw(N, 3, S, S, seed=3).clamp(-2, 2)


class Chosen:
    """Hands out the same numbers in every call, in the range that is asked for."""

    def __init__(self, seed: int = 4) -> None:
        self.seed = seed

    def uniform(self, shape, *, low=0.0, high=1.0):
        drawn = torch.rand(N, *shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        return drawn * (high - low) + low


class Counting(Chosen):
    """Hands out other numbers in every call."""

    def uniform(self, shape, *, low=0.0, high=1.0):
        self.seed += 1
        return super().uniform(shape, low=low, high=high)


def test_random_noise_adds_what_is_drawn(images, model):
    expected = model.logits(images + Chosen().uniform((3, S, S), low=-4 / 255, high=4 / 255))
    torch.testing.assert_close(random_noise(images, model, Chosen(), eps=4), expected)


def test_tte_averages_ten_views(images, model):
    views = []
    for image in images.numpy():
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
        corners = [padded[:, top : top + S, left : left + S] for top in (0, 4) for left in (0, 4)]
        views.append([view for one in (image, *corners) for view in (one, one[:, :, ::-1])])
    stacked = torch.tensor(np.array(views))  # (N, 10, 3, S, S)
    assert stacked.shape[1] == 10
    expected = torch.stack([model.logits(of_one).mean(0) for of_one in stacked])
    torch.testing.assert_close(tte(images, model, shift=2), expected)


def test_a_crop_is_a_window_of_the_image():
    """Of an image that rises linearly from left to right and from top to bottom, a crop is known in closed form."""
    ramp = torch.linspace(0.5 / S, 1 - 0.5 / S, S, dtype=torch.float64)
    images = torch.stack([ramp.expand(S, S), ramp[:, None].expand(S, S), torch.full((S, S), 0.5)]).expand(N, -1, -1, -1)

    class Centred:
        def uniform(self, shape):
            return torch.tensor([[0.0, 0.5, 0.25]] * N, dtype=torch.float64)  # side, left, top

    found = random_crop(images, Centred(), smallest=0.5)
    side, left, top = 0.5, 0.25, 0.125
    torch.testing.assert_close(found[:, 0], (left + side * ramp).expand(N, S, S))
    torch.testing.assert_close(found[:, 1], (top + side * ramp)[:, None].expand(N, S, S))
    assert torch.equal(random_crop(images, Chosen(), smallest=1.0), images)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_views_come_back_in_their_order_however_many_go_at_a_time(images, monkeypatch, rows):
    monkeypatch.setattr(module, "ROWS", rows)
    views = [images + number for number in range(5)]
    found = module.of_views(lambda batch: batch.flatten(1), views)
    assert torch.equal(found, torch.stack([view.flatten(1) for view in views], dim=1))


def test_the_ensemble_averages_its_views(images, model):
    noise = Counting()
    views = [model.logits(random_crop(images, noise, smallest=0.6)) for _ in range(3)]
    found = view_ensemble(images, model, Counting(), views=3, smallest=0.6)
    torch.testing.assert_close(found, (views[0] + views[1] + views[2]) / 3)


@pytest.mark.parametrize("inner", WAYS, ids=["constant", "unrolled"])
def test_anti_adversary_by_hand(images, model, weight, texts, inner):
    """Down the cross-entropy of linear logits: against (p - onehot) W."""
    points = images.clone()
    head = texts @ weight
    predicted = model.logits(images).argmax(-1)
    for _ in range(2):
        p = model.logits(points).softmax(-1)
        gradient = (p - F.one_hot(predicted, K)) @ head
        points = points - 1.2 / 255 * gradient.sign().view_as(images)
    found = anti_adversary(images, model, inner, steps=2, step_size=1.2)
    torch.testing.assert_close(found, model.logits(points))
    margin = found.gather(1, predicted[:, None]) - model.logits(images).gather(1, predicted[:, None])
    assert (margin > 0).all()


@pytest.mark.parametrize("inner", WAYS, ids=["constant", "unrolled"])
@pytest.mark.parametrize("threshold", [0.0, 1e9, None])
def test_ttc_by_hand(images, model, weight, inner, threshold):
    """On linear features the gradient of the distance is 2 WᵀW d."""
    start = Chosen().uniform((3, S, S), low=-4 / 255, high=4 / 255)
    ratios = model.encode(start).norm(dim=1) / model.encode(images).norm(dim=1)
    threshold = ratios.sort().values[1].item() if threshold is None else threshold  # one of three images is below it
    path = [start]
    for _ in range(2):
        gradient = (2 * model.encode(path[-1]) @ weight).view_as(start)
        path.append((path[-1] + gradient.sign() / 255).clamp(-4 / 255, 4 / 255))
    weighted = torch.einsum("s,snchw->nchw", (2.0 * torch.arange(3)).softmax(0).double(), torch.stack(path))
    expected = images + torch.where((ratios < threshold)[:, None, None, None], weighted, start)
    settings = {"eps": 4, "steps": 2, "step_size": 1, "threshold": threshold, "sharpness": 2}
    torch.testing.assert_close(ttc(images, model, Chosen(), inner, **settings), model.logits(expected))


@pytest.mark.parametrize("inner", WAYS, ids=["constant", "unrolled"])
def test_et3_by_hand(images, model, weight, texts, inner):
    head, points = texts @ weight, images
    for _ in range(3):
        gradient = model.logits(points).softmax(-1) @ head
        points = points + 0.1 * (gradient / gradient.norm(dim=1, keepdim=True)).view_as(images)
        points = images + (points - images).clamp(-2 / 255, 2 / 255)
    found = et3(images, model, inner, steps=3, step_size=0.1, eps=2)
    torch.testing.assert_close(found, model.logits(points))


def test_low_pass_keeps_the_mean_and_damps_a_wave():
    column = torch.arange(S, dtype=torch.float64) / S
    wave = 0.5 + 0.25 * torch.cos(2 * torch.pi * 3 * column).expand(1, 3, S, S)  # three cycles
    expected = 0.5 + np.exp(-9 / (2 * 2.0**2)) * (wave - 0.5)
    torch.testing.assert_close(low_pass(wave, radius=2.0), expected)


@pytest.mark.parametrize("inner", WAYS, ids=["constant", "unrolled"])
def test_csr_by_its_definition(images, model, inner):
    clean, target = model.encode(images), model.encode(low_pass(images, radius=1.5))
    cosines = F.cosine_similarity(clean, target)
    threshold = cosines.sort().values[2].item()  # two of three images are below it

    def value(d):
        features = model.encode(images + d)
        return F.cosine_similarity(features, target) - F.cosine_similarity(features, clean)

    tried, d = [], torch.zeros_like(images)
    for _ in range(3):
        (gradient,) = torch.autograd.grad(value(d.requires_grad_()).sum(), d)
        d = (d.detach() + 2 / 255 * gradient.sign()).clamp(-4 / 255, 4 / 255)
        tried.append(d)
    best = torch.stack([value(d) for d in tried]).argmax(0)  # (N,)
    moved = images + torch.stack(tried)[best, torch.arange(N)]
    expected = torch.where((cosines < threshold)[:, None, None, None], moved, images)
    settings = {"radius": 1.5, "threshold": threshold, "eps": 4, "steps": 3, "step_size": 2}
    torch.testing.assert_close(csr(images, model, inner, **settings), model.logits(expected))


@pytest.mark.parametrize(
    ("inner", "low", "high"), [(WAYS[0], 0, 1e-9), (WAYS[1], 0.9, 1.1)], ids=["constant", "unrolled"]
)
def test_clipure_is_the_identity_where_it_jumps_to_and_fro(images, model, texts, inner, low, high):
    """Features at a cosine of 0.2 to the blank text end where they were; constant steps leave no gradient."""
    blank = F.normalize(draw(D, seed=5), dim=0)
    features = F.normalize(model.encode(images), dim=-1)
    across = F.normalize(features - (features @ blank)[:, None] * blank, dim=-1)
    turned = 0.2 * blank + 0.96**0.5 * across  # unit norm, cosine 0.2
    sphere = Undefended(
        lambda points: points.flatten(1),
        lambda found: F.normalize(found, dim=-1) @ F.normalize(texts, dim=-1).T,
        Constant().combine,
    )
    points = turned[:, :, None, None].clone().requires_grad_()
    found = clipure_cos(points, sphere, inner, blank=blank, steps=10, step_size=30)
    torch.testing.assert_close(found, sphere.logits(turned), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(found.square().sum(), points)
    (plain,) = torch.autograd.grad(sphere.logits(points).square().sum(), points)
    assert low <= gradient.norm() / plain.norm() <= high


def test_r_tpt_against_a_plain_loop(images, model, texts):
    """Image by image, view by view; the first step of AdamW is a decay and, nearly, lr times the gradient's sign."""
    turn = draw(D, D, seed=7)
    start = draw(2, D, seed=8)

    def text_features(contexts):
        return F.normalize(texts + contexts.mean(-2, keepdim=True) @ turn, dim=-1)

    views, lr, neighbours, temperature, noise = 6, 0.005, 2, 0.3, Counting()
    crops = [random_crop(images, noise, smallest=0.5) for _ in range(views - 1)]
    expected = []
    for index in range(N):
        features = torch.stack([model.encode(view)[index] for view in [images, *crops]])
        context = start.clone().requires_grad_()
        entropy = torch.special.entr((features @ text_features(context[None])[0].T).softmax(-1)).sum(-1)
        entropy.sort().values[:2].mean().backward()
        context = context.detach() * (1 - lr * 0.01) - lr * context.grad / (context.grad.abs() + 1e-8)
        unit = F.normalize(features, dim=-1)
        nearness = torch.stack(
            [torch.cat([unit[:i], unit[i + 1 :]]).mv(unit[i]).sort().values[-neighbours:].mean() for i in range(views)]
        )
        logits = features @ text_features(context[None])[0].T
        expected.append(((nearness / temperature).softmax(0)[:, None] * logits).sum(0))
    wording = Wording(start, text_features)
    settings = {"confident": 0.3, "lr": lr, "neighbours": neighbours, "temperature": temperature}
    found = r_tpt(images, model, Counting(), wording=wording, views=views, smallest=0.5, **settings)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_constant_steps_pass_the_gradient_as_it_is(images, model, weight, texts):
    """The logits are linear: straight through the steps, their gradient is that of the undefended model."""
    images.requires_grad_()
    for found in (
        anti_adversary(images, model, Constant(), steps=2, step_size=1.2),
        ttc(images, model, Chosen(), Constant(), eps=4, steps=2, step_size=1, threshold=1e9, sharpness=2),
        et3(images, model, Constant(), steps=3, step_size=0.1, eps=2),
        csr(images, model, Constant(), radius=1.5, threshold=1.0, eps=4, steps=3, step_size=2),
    ):
        (gradient,) = torch.autograd.grad(found.sum(), images)
        torch.testing.assert_close(gradient, (texts.sum(0) @ weight).view(3, S, S).expand(N, -1, -1, -1))


def test_behind_a_shut_gate_no_step_is_taken_and_its_distance_is_known(images, model):
    closed, start = Closed(), Chosen().uniform((3, S, S), low=-4 / 255, high=4 / 255)
    found = ttc(images, model, Chosen(), closed, eps=4, steps=2, step_size=1, threshold=0.2, sharpness=2)
    torch.testing.assert_close(found, model.logits(images + start))
    moved = (model.encode(images + start) - model.encode(images)).norm(dim=-1)
    torch.testing.assert_close(closed.distance, moved / model.encode(images).norm(dim=-1) - 0.2)
    found = csr(images, model, closed, radius=1.5, threshold=0.85, eps=4, steps=3, step_size=2)
    torch.testing.assert_close(found, model.logits(images))
    cosine = F.cosine_similarity(model.encode(images), model.encode(low_pass(images, radius=1.5)))
    torch.testing.assert_close(closed.distance, cosine - 0.85)


def test_unrolled_et3_has_its_true_derivative(images, model):
    """No sign in it: the derivative is exact, by finite differences."""
    few = images[:1].clone().requires_grad_()
    torch.autograd.gradcheck(lambda points: et3(points, model, Unrolled(), steps=2, step_size=0.05, eps=9), (few,))


def test_a_smooth_sign_is_the_sign_with_the_slope_of_tanh():
    gradient = draw(2, 3, 2, 2, seed=6).requires_grad_()
    found = Unrolled().sign(gradient)
    assert torch.equal(found, gradient.sign())
    (slope,) = torch.autograd.grad(found.sum(), gradient)
    scale = gradient.detach().abs().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(slope, (1 - (gradient.detach() / scale).tanh() ** 2) / scale)


def test_unrolled_steps_change_the_gradient(images, model):
    images.requires_grad_()
    gradients = []
    for inner in WAYS:
        found = anti_adversary(images, model, inner, steps=2, step_size=1.2)
        gradients.append(torch.autograd.grad(found.square().sum(), images)[0])
    assert not torch.allclose(*gradients)


def test_the_objective_of_views_kept_apart_against_a_plain_loop(images, model):
    """Its value is log p[t] less the mean divergence; the gradient of log softmax(z_v)[t] is onehot(t) - p_v."""
    apart, labels = Apart(), torch.tensor([0, 1, 2])
    weaker = model._replace(classify=lambda features: model.classify(features) / 50, combine=apart.combine)

    def views_of(points):
        tte(points, weaker, shift=2)
        return apart.logits

    points = images.clone().requires_grad_()
    values = alike(views_of, labels)(points)
    (gradient,) = torch.autograd.grad(values.sum(), points)
    for image, label, value, found in zip(images, labels.tolist(), values, gradient, strict=True):
        logits = views_of(image[None])[0].numpy()  # (10, K)
        mean = logits.mean(0)
        target = max({*range(K)} - {label}, key=mean.__getitem__)
        p, q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True), np.exp(mean) / np.exp(mean).sum()
        assert value.item() == pytest.approx(np.log(p[:, target]).mean())
        assert value.item() == pytest.approx(np.log(q[target]) - (q * np.log(q / p)).sum(1).mean())
        slopes = torch.autograd.functional.jacobian(views_of, image[None])[0, :, :, 0]  # (10, K, 3, S, S)
        expected = torch.einsum("vk,vkchw->chw", torch.tensor(np.eye(K)[target] - p) / len(p), slopes)
        torch.testing.assert_close(found, expected)
