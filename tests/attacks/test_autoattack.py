"""AutoAttack behind its guards: the package itself as oracle, then whatever it would be fooled by."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import get_ident

import pyautoattack
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from pyautoattack.fab_base import FABAttack
from torch import nn

from stages.attacks import autoattack
from stages.attacks.autoattack import ATTACKS, attacks_for, auto_attack

EPS = 6 / 255
IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(classes: int = 10) -> nn.Sequential:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, classes)).eval()


def right_labels(net: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return net(IMAGES).argmax(1)


def attack(logits_of, images=IMAGES, labels=None, *, version="fast", seed=3, queries=60) -> torch.Tensor:
    labels = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
    return auto_attack(logits_of, images, labels, eps=EPS, version=version, seed=seed, queries=queries)


def official(net: nn.Module, attacks: tuple[str, ...]) -> pyautoattack.AutoAttack:
    found = pyautoattack.AutoAttack(net, eps=EPS, seed=3, version="standard")
    found.attacks_to_run, found.square.n_queries = list(attacks), 59
    return found


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A quarter of the package's iterations, whoever calls it: enough for one look at the step size."""
    for kind in (APGDAttack, FABAttack):

        def shortened(self, *args, original=kind.attack_single_run, **options):
            self.n_iter = 24
            return original(self, *args, **options)

        monkeypatch.setattr(kind, "attack_single_run", shortened)


@pytest.mark.parametrize("version", ["standard", "square"])
def test_finds_what_the_package_finds_bit_by_bit(version):
    net = network()
    labels = right_labels(net)
    labels[0] = (labels[0] + 1) % 10
    found = attack(net, labels=labels, version=version)
    oracle, predicted = official(net, ATTACKS[version]).run_standard_evaluation(IMAGES, labels)
    assert torch.equal(found, oracle)
    assert torch.equal(found[0], IMAGES[0])  # wrong already
    assert 1 < (predicted != labels).sum() < len(labels)


def test_settings_are_those_of_autoattack():
    ours = autoattack._official(network(), eps=EPS, seed=3, queries=5001, classes=10, device=torch.device("cpu"))
    theirs = pyautoattack.AutoAttack(network(), eps=EPS, seed=3, version="standard")
    theirs.fab.targeted = True  # as it sets it on the way
    assert attacks_for("standard", 10) == tuple(theirs.attacks_to_run)
    for name, oracle in zip(ours, [theirs.apgd, theirs.apgd_targeted, theirs.fab, theirs.square], strict=True):
        kept = [key for key in vars(oracle) if key not in {"model", "predict", "logger", "device"}]
        assert {key: vars(ours[name])[key] for key in kept} == {key: vars(oracle)[key] for key in kept}, name


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_few_classes(classes):
    net = network(classes)
    labels = right_labels(net)
    found = attack(net, labels=labels, version="standard")
    assert (found - IMAGES).abs().max() <= EPS + 1e-6 and found.min() >= 0 and found.max() <= 1
    assert (net(found).argmax(1) != labels).any()


def test_which_attacks_need_four_classes():
    assert attacks_for("fast", 4) == ("apgd-ce", "apgd-t")
    assert attacks_for("fast", 3) == ("apgd-ce",)
    assert attacks_for("standard", 3) == ("apgd-ce", "fab-t", "square")
    assert attacks_for("square", 2) == ("square",)


def test_images_and_weights_in_channels_last():
    net = network(4)
    labels, images = right_labels(net), IMAGES.to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view"):
        official(net, ("apgd-t",)).run_standard_evaluation(images, labels)
    expected = attack(net, labels=labels)
    assert torch.equal(attack(net, images, labels), expected)
    found = attack(net.to(memory_format=torch.channels_last), images, labels)
    assert torch.equal(net(found).argmax(1) == labels, net(expected).argmax(1) == labels)


def test_trainable_weights_get_no_gradient():
    net = network(4)
    labels = right_labels(net)
    found = attack(net, labels=labels, version="standard")
    assert all(weight.grad is None for weight in net.parameters())
    assert torch.equal(attack(net.requires_grad_(False), labels=labels, version="standard"), found)


def test_depends_on_the_seed_and_on_nothing_that_ran_before():
    net = network()
    labels = right_labels(net)
    before = torch.manual_seed(0).get_state()
    found = attack(net, labels=labels, version="square")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(attack(net, labels=labels, version="square"), found)
    assert not torch.equal(attack(net, labels=labels, version="square", seed=4), found)


def test_says_nothing_even_of_zero_gradients(capfd, caplog, recwarn):
    net = network(4)
    nn.init.constant_(net[0].bias, -1e3)  # the ReLU lets nothing through
    assert torch.equal(attack(net, labels=right_labels(net)), IMAGES)
    assert tuple(capfd.readouterr()) == ("", "")
    assert not caplog.records and not recwarn.list


@pytest.mark.parametrize("queries", [1, 40])
def test_square_asks_no_more_than_its_queries(queries):
    asked = []

    def never_fooled(images):
        assert not torch.is_grad_enabled()  # a black box
        asked.append(images.clone())
        return torch.eye(10)[:1] * 5 + images.sum() * torch.zeros(1, 10)

    found = attack(never_fooled, IMAGES[:1], version="square", queries=queries)
    changed = [not torch.equal(images, IMAGES[:1]) for images in asked]
    assert torch.equal(found, IMAGES[:1])
    assert sum(changed) == queries + 1 and torch.equal(asked[-1], asked[changed.index(True)])  # the best, once more
    assert len(asked) == queries + 5


def test_calls_from_threads_wait_for_each_other():
    net, callers = network(), []

    def slow(images):
        callers.append(get_ident())
        time.sleep(0.002)
        return net(images)

    labels = right_labels(net)
    with ThreadPoolExecutor(2) as pool:
        seeds = [3, 4]
        found = list(pool.map(lambda seed: attack(slow, labels=labels, version="square", seed=seed, queries=9), seeds))
    assert sum(one != other for one, other in pairwise(callers)) == 1
    for seed, images_adv in zip(seeds, found, strict=True):
        assert torch.equal(attack(net, labels=labels, version="square", seed=seed, queries=9), images_adv)


def broken_weights() -> nn.Module:
    net = network()
    net[3].weight.data[0, 0] = torch.nan
    return net


def nan_once_attacked(images):
    logits = network()(images)
    return logits if torch.equal(images, IMAGES) else logits * torch.nan


@pytest.mark.parametrize(
    ("logits_of", "message"),
    [
        (broken_weights(), "logits: NaN or infinite for 8 of 8 images"),
        (lambda images: network()(images).relu().log(), "logits: NaN or infinite"),
        (nan_once_attacked, r"logits: NaN or infinite for (\d) of \1 images"),
        (nn.Sequential(network(), nn.Softmax(dim=1)), "probabilities.*softmax"),
        (nn.Sequential(network(), nn.Dropout().train()), "apart in two calls"),
        (network(1), "logits: 1 class"),
    ],
    ids=["NaN", "infinite", "NaN on the way", "probabilities", "chance", "one class"],
)
def test_refuses_models_that_would_seem_robust(logits_of, message):
    with pytest.raises(ValueError, match=message):
        attack(logits_of, labels=torch.full((8,), right_labels(network())[0]))


@pytest.mark.parametrize("pixel", [-0.1, 1.1, torch.nan])
def test_refuses_pixels_outside_the_range(pixel):
    images = IMAGES.clone()
    images[2, 1, 0, 0] = pixel
    with pytest.raises(ValueError, match=r"images: pixels from .* allowed are 0 to 1"):
        attack(network(), images)


def test_refuses_an_unknown_version():
    with pytest.raises(ValueError, match="version: 'plus'; allowed are fast, standard, square"):
        attack(network(), version="plus")
