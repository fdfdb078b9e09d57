"""Cross-validate ways to tune on a refreshed bank: `python -m reports.studies.folds` writes reports/folds.csv.

Of the default data set's training images alone, in four folds: three are attacked through the prompts and tuned on, in
rounds, as the stage `refresh` does it; the fourth is attacked through what came out, by PGD on the cross-entropy and on
the margin, the worse of both for each image. Beside prompts, the K text features themselves are tuned, as if no text
tower had to make them: a cosine classifier on frozen image features.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, margin
from stages.attacks.pgd import pgd
from stages.crafting.batching import even_batches
from stages.crafting.embedding import embed_shard
from stages.crafting.refresh import RefreshWorker
from stages.crafting.shards import craft_shard, steps_of
from stages.datasets.card import read_card
from stages.models.clip import Clip, load_clip
from stages.models.logits import cosine_logits
from stages.prompts.fit import fit
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import learner_of
from stages.prompts.train import Schedule, tune
from stages.runtime.params import Params, Refreshed, load_params
from stages.storage.images import Images, read_images
from stages.storage.layout import clean_images, prompts_file
from stages.storage.prompts import load_prompts

CPU = torch.device("cpu")
DEFAULT = "the default"
FOLDS = 4
EPS = (1, 2, 4)
STEPS, STEP_RATIO = 20, 2.5
OBJECTIVES = {"cross-entropy": cross_entropy, "margin": margin}
FREE = Schedule(epochs=50, batch_size=512, lr=1.0, momentum=0.9, weight_decay=0.0, warmup_epochs=1, warmup_lr=1e-5)
AGAINST = f"eps 4, against {DEFAULT}"
SOFT = {"temperature": 2.0, "epochs": 100, "lr": 0.1}


class Way(NamedTuple):
    """How to tune.

    Attributes:
        block: What differs of the method's block.
        free: How to step where free text features are tuned.
    """

    block: Mapping[str, object] = MappingProxyType({})
    free: Schedule | None = None


WAYS = {
    DEFAULT: Way(),
    "temperature 2, 100 epochs, lr 0.1": Way(SOFT),
    "the same from words": Way({**SOFT, "init_words": "a photo of a"}),
    "free text features": Way(free=FREE),
    "free text features, temperature 2": Way(SOFT, FREE),
    "free text features, temperature 2, 5 rounds": Way({**SOFT, "rounds": 5}, FREE),
    "free text features, temperature 2, eps 1, 2 and 4": Way({**SOFT, "eps": [1, 2, 4]}, FREE),
}


class Laboratory:
    """The default data set's training images, and what it takes to attack them and to tune."""

    def __init__(self, params: Params) -> None:
        (dataset, *_) = params.datasets
        shards = list(read_images(clean_images(dataset, "train")))
        ids = [id for shard in shards for id in shard.ids]
        labels, pixels = (np.concatenate([getattr(shard, name) for shard in shards]) for name in ("labels", "pixels"))
        self.params, self.images = params, Images(ids, labels, pixels)
        self.clip: Clip = load_clip(**params.model.model_dump(), device=CPU)
        self.card = read_card(dataset)
        found = load_prompts(prompts_file(dataset, "all", "zero_shot", "zero_shot"))
        self.zero_shot = torch.tensor(found.text_features[0])
        self.clean = self.embedded(self.images)

    def embedded(self, images: Images) -> Tensor:
        """Return raw embeddings (N, D)."""
        return torch.tensor(embed_shard(self.clip, images, device=CPU, runtime=self.params.runtime).embeddings)

    def logits(self, text_features: Tensor, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        return cosine_logits(self.clip.encode_image(images), text_features, self.clip.logit_scale)

    def tuned(self, way: Way, part: np.ndarray) -> Tensor:
        """Return text features (K, D) after rounds on the images of a mask."""
        images, labels = self.images.take(part), torch.tensor(self.images.labels[part])
        method = self.params.methods.find("refresh", "advpt_refreshed")
        block = method.block.model_copy(update={**way.block, "tuning_seeds": 1})
        assert isinstance(block, Refreshed)
        settings = method._replace(block=block).settings(self.params.tune)
        worker = RefreshWorker(self.params, block, range(len(self.card.class_names)), self.clip)
        text_features, views = self.zero_shot, []
        for round_index in range(block.rounds):
            bank, _ = worker.embedded(images, partial(self.logits, text_features), round_index=round_index)
            views.append(torch.tensor(bank.embeddings))
            data = {"embeddings": torch.stack(views)[None], "clean_embeddings": self.clean[part], "labels": labels}
            step = self.freely if way.free else self.by_prompts
            text_features = step(way, settings, data)
        return text_features

    def by_prompts(self, way: Way, settings: dict[str, Any], data: dict[str, Tensor]) -> Tensor:
        """Tune prompts; return their text features (K, D)."""
        generators = tuning_generators(0, 1)
        learner = learner_of(settings, self.card.class_names, self.card.template, self.clip, generators)
        with TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "progress.safetensors"
            found = fit(learner, settings, self.clip, generators=generators, checkpoint=checkpoint, what="", **data)
        return found.text_features[0]

    def freely(self, way: Way, settings: dict[str, Any], data: dict[str, Any]) -> Tensor:
        """Tune the text features (K, D) themselves, from the hand-written prompt's."""
        assert way.free
        vectors = self.zero_shot[None].clone()
        no_bias = vectors.new_zeros(vectors.shape[:2])
        progress = tune(
            lambda free: (F.normalize(free, dim=-1), no_bias),
            vectors,
            **data,
            clean_fraction=settings["clean_fraction"],
            logit_scale=self.clip.logit_scale / settings["temperature"],
            schedule=way.free,
            generators=tuning_generators(0, 1),
        )
        for _ in progress:
            pass
        return F.normalize(vectors[0], dim=-1)

    def right(self, text_features: Tensor, part: np.ndarray) -> dict[str, np.ndarray]:
        """Which images of a mask are right, clean and under attack, by eps."""
        images, labels = self.images.take(part), self.images.labels[part]
        found = {"clean": self.hits(text_features, self.clean[part], labels)}
        for eps in EPS:
            robust = [
                self.hits(text_features, self.embedded(self.attacked(text_features, images, eps, objective)), labels)
                for objective in OBJECTIVES.values()
            ]
            found[f"eps {eps}"] = np.logical_and.reduce(robust)
        return found

    def hits(self, text_features: Tensor, embeddings: Tensor, labels: np.ndarray) -> np.ndarray:
        return (cosine_logits(embeddings, text_features, self.clip.logit_scale).argmax(-1).numpy()) == labels

    def attacked(self, text_features: Tensor, images: Images, eps: float, objective: Callable) -> Images:
        """Images attacked through text features, as they would be stored."""
        ball, step_size, steps = steps_of(eps, STEPS, STEP_RATIO)
        logits_of = partial(self.logits, text_features)

        def attack(pixels: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
            return pgd(objective(logits_of, labels), pixels, ball=ball, step_size=step_size, steps=steps, noise=noise)

        batching = even_batches(self.params.runtime, len(images), CPU.type)
        return craft_shard(attack, images, ball=LinfBall(eps / 255), seed=1, device=CPU, batching=batching)


def folds_of(labels: np.ndarray) -> np.ndarray:
    """The fold (N,) of each image, by chance, every class in equal shares."""
    generator, folds = np.random.default_rng(0), np.empty(len(labels), int)
    for label in np.unique(labels):
        places = generator.permutation(np.flatnonzero(labels == label))
        folds[places] = np.arange(len(places)) % FOLDS
    return folds


def gains_of(laboratory: Laboratory, way: Way, by_hand: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each image gains over the hand-written prompt, 1, 0 or -1 (N,), by threat; tuned on the other folds."""
    folds = folds_of(laboratory.images.labels)
    gains = {threat: np.empty(len(folds)) for threat in by_hand}
    for fold in range(FOLDS):
        judged = folds == fold
        found = laboratory.right(laboratory.tuned(way, ~judged), judged)
        for threat, right in found.items():
            gains[threat][judged] = right.astype(float) - by_hand[threat][judged]
    return gains


def line(name: str, values: dict[str, np.ndarray]) -> dict[str, object]:
    """Means over images in percent or points, and their standard errors."""
    numbers: dict[str, object] = {"tuned": name}
    for what, value in values.items():
        numbers[what] = round(100 * value.mean(), 2)
        numbers[f"{what} se"] = round(100 * value.std() / len(value) ** 0.5, 2)
    return {**numbers, "n": len(value)}


def main() -> pd.DataFrame:
    """Every way, all folds; what is said of the hand-written prompt are its accuracies."""
    laboratory = Laboratory(load_params())
    every = np.ones(len(laboratory.images), bool)
    by_hand = {threat: right.astype(float) for threat, right in laboratory.right(laboratory.zero_shot, every).items()}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, way in WAYS.items():
        found[name] = gains_of(laboratory, way, by_hand)
        print(line(name, found[name]), flush=True)
    lines = [line("hand-written, its accuracy", by_hand)]
    for name, gains in found.items():
        lines.append(line(name, {**gains, AGAINST: gains["eps 4"] - found[DEFAULT]["eps 4"]}))
    return pd.DataFrame(lines)


if __name__ == "__main__":
    table = main()
    table.to_csv("reports/folds.csv", index=False, lineterminator="\n")
    print(table.to_string(index=False))
