"""Sequences of attacks: who is attacked, what is kept, and rounds of PGD against PGD in one go."""

import pytest
import torch

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, diverse
from stages.attacks.pgd import pgd
from stages.attacks.survivors import attack_by_score, attack_survivors

IDS = [f"image/{index}" for index in range(6)]
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
BALL = LinfBall(16 / 255)


def in_rounds(objective_of, images, *, rounds, steps, fooled):
    """PGD stopped early: a random start, then on from where each round ended."""
    noise = ImageNoise(0, IDS)

    def attack(start):
        return lambda images_adv, places: pgd(
            objective_of(places, noise.take(places)),
            images[places],
            ball=BALL,
            step_size=1 / 255,
            steps=steps,
            noise=noise.take(places),
            start=images_adv if start else None,
        )

    return attack_survivors([attack(index > 0) for index in range(rounds)], images, fooled=fooled).images


def in_one_go(objective_of, images, *, steps):
    noise = ImageNoise(0, IDS)
    objective = objective_of(torch.arange(len(images)), noise)
    return pgd(objective, images, ball=BALL, step_size=1 / 255, steps=steps, noise=noise)


def test_each_attack_sees_the_survivors_of_those_before_it():
    images = torch.tensor([0.9, 0.1, 0.4, 0.2]).view(4, 1, 1, 1)
    fooling = torch.tensor([0.5, 0.3, 0.5, 0.9])
    seen = []

    def add(step):
        def attack(images_adv, places):
            seen.append((places.tolist(), images_adv.flatten().tolist()))
            return images_adv + step

        return attack

    def fooled(images_adv, places):
        return images_adv.flatten() > fooling[places]

    found, made_by = attack_survivors([add(0.125), add(0.25), add(0.0625)], images, fooled=fooled)
    expected = torch.tensor([0.9, 0.475, 0.525, 0.6375])  # clean, after two, after one, never
    torch.testing.assert_close(found.flatten(), expected)
    assert [places for places, _ in seen] == [[1, 2, 3], [1, 3], [3]]
    assert seen[1][1] == pytest.approx([0.225, 0.325])
    assert made_by.tolist() == [-1, 1, 0, 2]
    assert images.flatten().tolist() == pytest.approx([0.9, 0.1, 0.4, 0.2])


def test_an_image_that_is_wrong_anyway_is_not_attacked(images):
    def never(images_adv, places):
        raise AssertionError(places)

    found = attack_survivors([never], images, fooled=lambda images_adv, places: torch.ones(len(places)).bool())
    assert torch.equal(found.images, images)


def test_rounds_are_pgd_in_one_go_if_nobody_is_fooled(images, network):
    def objective_of(places, noise):
        return diverse(cross_entropy(network, LABELS[places]), probability=0.7, smallest=0.5, noise=noise)

    rounds = in_rounds(
        objective_of, images, rounds=4, steps=10, fooled=lambda images_adv, places: torch.zeros(len(places)).bool()
    )
    assert torch.equal(rounds, in_one_go(objective_of, images, steps=40))


def test_rounds_are_pgd_stopped_at_the_first_round_that_fools(images):
    """Element by element, so that no sum can depend on the batch; input diversity keeps each image's own stream."""
    weight = 40 * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    levels = torch.tensor([-1000.0, 25.0, 54.0, 40.0, 93.0, 1000.0])

    def objective_of(places, noise):
        return diverse(lambda x: (weight * x).sin().sum((1, 2, 3)), probability=0.7, smallest=0.5, noise=noise)

    def fooled(images_adv, places):
        return (weight * images_adv).sin().sum((1, 2, 3)) > levels[places]

    found = in_rounds(objective_of, images, rounds=4, steps=10, fooled=fooled)
    ends = [images, *(in_one_go(objective_of, images, steps=10 * rounds) for rounds in (1, 2, 3, 4))]
    fools = torch.stack([fooled(end, torch.arange(6)) for end in ends])
    stops = [0, 1, 4, 2, 3, 4]  # clean, after rounds 1, 4, 2, 3, never
    assert [fools[:, place].tolist().index(True) for place in range(5)] == stops[:5] and not fools[:, 5].any()
    assert torch.equal(found, torch.stack([ends[stop][place] for place, stop in enumerate(stops)]))


def test_restarts_go_on_drawing_for_the_survivors(images):
    noise, twin = ImageNoise(0, IDS), ImageNoise(0, IDS)

    def restart(images_adv, places):
        drawn = noise.take(places).uniform((3, 8, 8), low=-1, high=1)
        return BALL.random_start(images[places], drawn)

    def fooled(images_adv, places):
        return (places % 2 == 0) & (images_adv != images[places]).flatten(1).any(1)

    found = attack_survivors([restart, restart], images, fooled=fooled).images
    first, second = (BALL.random_start(images, twin.uniform((3, 8, 8), low=-1, high=1)) for _ in range(2))
    assert torch.equal(found[::2], first[::2])
    assert torch.equal(found[1::2], second[1::2])


def test_taken_noise_shares_the_streams():
    noise, twin = ImageNoise(0, IDS), ImageNoise(0, IDS)
    assert torch.equal(noise.take(torch.tensor([4, 1])).uniform((2,)), twin.uniform((2,))[[4, 1]])
    others, taken = [0, 2, 3, 5], [1, 4]
    again, once = noise.uniform((2,)), twin.uniform((2,))
    assert torch.equal(again[taken], once[taken])
    assert torch.equal(again[others], ImageNoise(0, IDS).uniform((2,))[others])


def test_a_given_start_draws_no_noise(images):
    noise = ImageNoise(0, IDS)
    start = BALL.project(images + 0.01, images)
    found = pgd(lambda x: x.sum((1, 2, 3)), images, ball=BALL, step_size=0.01, steps=1, noise=noise, start=start)
    torch.testing.assert_close(found, BALL.project(images + 0.02, images))
    assert torch.equal(noise.uniform((2,)), ImageNoise(0, IDS).uniform((2,)))


def test_the_version_with_the_highest_score_is_kept_and_enough_of_it_ends_the_attack():
    images = torch.tensor([0.0, 0.25, 0.5]).view(3, 1, 1, 1)
    met = []

    def move(to: float):
        def attack(images_adv, places):
            met.append(places.tolist())
            return torch.full_like(images_adv, to)

        return attack

    def score(images_adv, places):
        return images_adv.flatten()

    best, made_by = attack_by_score([move(0.375), move(0.125), move(0.4375)], images, score=score, enough=0.4)
    assert best.flatten().tolist() == [0.4375, 0.4375, 0.5], "the last version is scored, too"
    assert made_by.tolist() == [2, 2, -1]
    best, made_by = attack_by_score([move(0.375), move(0.125)], images, score=score, enough=0.4)
    assert best.flatten().tolist() == [0.375, 0.375, 0.5]
    assert made_by.tolist() == [0, 0, -1]
    assert met == [[0, 1]] * 5, "the third is good enough unattacked"
    best, made_by = attack_by_score([move(0.375), move(0.125)], images, score=lambda *_: torch.zeros(3), enough=0.4)
    assert best.flatten().tolist() == [0.125] * 3 and made_by.tolist() == [1] * 3, "of equals, the last"
