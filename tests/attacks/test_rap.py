"""Reverse perturbations against the plain attack, a linear inner objective and the paper's loop written out."""

import torch
from torch import nn

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, diverse, max_logit
from stages.attacks.pgd import pgd
from stages.attacks.rap import reverse

IDS = [f"image/{index}" for index in range(6)]
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
BALL, INNER = LinfBall(16 / 255), LinfBall(12 / 255)
STEPS, FROM_CALL = 4, 2


def noise_of(name: str = "", ids: list[str] = IDS) -> ImageNoise:
    return ImageNoise(0, [name + id for id in ids])


def rap(network, images, *, chosen=range(6), inner_ball=INNER, from_call=FROM_CALL, steps=6):
    """The paper's attack, small: max-logit under input diversity, cross-entropy inside."""
    chosen = list(chosen)
    noise = noise_of(ids=[IDS[index] for index in chosen])
    objective = reverse(
        diverse(max_logit(network, LABELS[chosen]), probability=0.7, smallest=0.5, noise=noise),
        inner=cross_entropy(network, LABELS[chosen]),
        ball=inner_ball,
        steps=STEPS,
        from_call=from_call,
        noise=noise.beside("reverse"),
    )
    return pgd(objective, images[chosen], ball=BALL, step_size=2 / 255, steps=steps, noise=noise)


def without_reverse(network, images, *, steps=6):
    noise = noise_of()
    objective = diverse(max_logit(network, LABELS), probability=0.7, smallest=0.5, noise=noise)
    return pgd(objective, images, ball=BALL, step_size=2 / 255, steps=steps, noise=noise)


def test_an_inner_radius_of_zero_is_the_diversity_attack(images, network):
    assert torch.equal(rap(network, images, inner_ball=LinfBall(0), from_call=0), without_reverse(network, images))


def test_is_the_diversity_attack_until_its_late_start(images, network):
    assert torch.equal(rap(network, images, steps=FROM_CALL), without_reverse(network, images, steps=FROM_CALL))
    late = FROM_CALL + 1
    assert not torch.equal(rap(network, images, steps=late), without_reverse(network, images, steps=late))


def test_pays_for_its_inner_steps_from_the_late_start_on(images):
    calls = []

    def linear(name):
        return lambda x: calls.append(name) or x.sum((1, 2, 3))

    objective = reverse(linear("out"), inner=linear("in"), ball=INNER, steps=3, from_call=2, noise=noise_of())
    for _ in range(4):
        objective(images)
    assert calls == ["out"] * 2 + (["in"] * 3 + ["out"]) * 2


def test_walks_down_a_linear_inner_objective_inside_ball_and_pixel_range(images):
    weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    objective = reverse(
        lambda x: x.sum((1, 2, 3)),
        inner=lambda x: (x * weight).sum((1, 2, 3)),
        ball=INNER,
        steps=STEPS,
        from_call=0,
        noise=noise_of("b/"),
    )
    drawn = INNER.eps * noise_of("b/").uniform((3, 8, 8), low=-1, high=1)
    start = (images + drawn).clamp(0, 1)
    lowest = (start - INNER.eps * weight.sign()).clamp(images - INNER.eps, images + INNER.eps).clamp(0, 1)
    torch.testing.assert_close(objective(images), lowest.sum((1, 2, 3)))


def test_the_gradient_is_the_objectives_at_the_moved_images(images, network):
    seen = []

    def quadratic(x):
        seen.append(x.detach())
        return x.square().sum((1, 2, 3))

    inner = cross_entropy(network, LABELS)
    objective = reverse(quadratic, inner=inner, ball=INNER, steps=STEPS, from_call=0, noise=noise_of())
    moving = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(moving).sum(), moving)
    assert torch.equal(gradient, 2 * seen[0])
    assert (inner(seen[0]) < inner(images)).all()
    assert moving.grad is None and all(p.grad is None for p in network.parameters())


def test_equals_the_paper_s_loop_written_out(images, network):
    """With δ and n as the variables, no shared loop, and weights that would collect gradients."""
    images, network, eps_n = images.double(), network.double(), INNER.eps
    outer, inner = noise_of("a/"), noise_of("b/")
    delta = (images + BALL.eps * outer.uniform((3, 8, 8), low=-1, high=1)).clamp(0, 1) - images
    for iteration in range(6):
        moved, n = images + delta, torch.zeros_like(images)
        if iteration >= FROM_CALL:
            n = (moved + eps_n * inner.uniform((3, 8, 8), low=-1, high=1)).clamp(0, 1) - moved
            for _ in range(STEPS):
                n.requires_grad_()
                loss = nn.functional.cross_entropy(network(moved + n), LABELS, reduction="sum")
                n = (n - eps_n / STEPS * torch.autograd.grad(loss, n)[0].sign()).detach().clamp(-eps_n, eps_n)
                n = (moved + n).clamp(0, 1) - moved
        delta.requires_grad_()
        right = network(images + delta + n)[range(6), LABELS].sum()
        delta = (delta - 2 / 255 * torch.autograd.grad(right, delta)[0].sign()).detach().clamp(-BALL.eps, BALL.eps)
        delta = (images + delta).clamp(0, 1) - images

    objective = reverse(
        max_logit(network, LABELS),
        inner=cross_entropy(network, LABELS),
        ball=INNER,
        steps=STEPS,
        from_call=FROM_CALL,
        noise=noise_of("b/"),
    )
    found = pgd(objective, images, ball=BALL, step_size=2 / 255, steps=6, noise=noise_of("a/"))
    torch.testing.assert_close(found, images + delta, rtol=0, atol=1e-6)


def test_does_not_depend_on_the_batch_or_its_order(images, network):
    whole = rap(network, images)
    torch.testing.assert_close(rap(network, images, chosen=[3, 1]), whole[[3, 1]], rtol=0, atol=1e-7)
