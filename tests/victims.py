"""Victims for tests, and images after an attack on them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.attacks.linf import LinfBall
from stages.crafting.batching import even_batches
from stages.crafting.shards import Attack, craft_shard
from stages.defences.inner import Inner
from stages.defences.test_time import TestTime
from stages.defences.undefended import Undefended
from stages.defences.victim import CONSTANT, Victim
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.runtime.params import load_params
from stages.storage.images import Images

CPU = torch.device("cpu")


class Toy(Victim):
    """A victim without towers: its logits are any function of images, which are their own features behind a defence."""

    def __init__(
        self,
        classify: Callable[[Tensor], Tensor],
        defence: Callable[..., Tensor] | None = None,
        test_time: TestTime | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.function, self.defence, self.test_time = classify, defence, test_time

    def classify(self, images: Tensor, noise: object = None, inner: Inner = CONSTANT) -> Tensor:
        """Return the function's logits, through the test-time defence if there is one."""
        if self.test_time is None:
            return self.function(images)
        model = Undefended(lambda images: images.flatten(1), self.function, inner.combine)
        return self.test_time(images, model, None, inner)

    def undefended(self) -> "Toy":
        """Return the same without its defence."""
        return Toy(self.function)


def random_victim(clip: Clip, *, seed: int = 0, classes: int = 3, **options: object) -> Victim:
    """A CLIP with random text features."""
    text_features = torch.randn(classes, 128, generator=torch.Generator().manual_seed(seed))
    return Victim(clip, F.normalize(text_features, dim=-1), 10.0, **options)


def attacked(attack: Attack, shard: Images, eps: float) -> Images:
    """What an attack makes of a shard, as it is stored."""
    batching = even_batches(load_params().runtime, len(shard), "cpu")
    return craft_shard(attack, shard, ball=LinfBall(eps / 255), seed=0, device=CPU, batching=batching)


def predicted(victim: Callable[[Tensor], Tensor], shard: Images) -> np.ndarray:
    """Classes (N,) that a victim takes images for."""
    with torch.no_grad():
        return victim(to_tensor(shard.pixels, CPU)).argmax(1).numpy()


def labelled(victim: Callable[[Tensor], Tensor], shard: Images) -> Images:
    """Images with the labels that a victim takes them for."""
    return replace(shard, labels=predicted(victim, shard))


def noisy(shard: Images, eps: int) -> Images:
    """Random noise of the same size: what an attack has to beat."""
    signs = np.random.default_rng(1).choice([-eps, eps], shard.pixels.shape)
    return replace(shard, pixels=np.clip(shard.pixels.astype(int) + signs, 0, 255).astype(np.uint8))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Require that no weight moves or takes a gradient meanwhile."""
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    yield
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())
