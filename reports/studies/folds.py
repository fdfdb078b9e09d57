"""Cross-validate ways to tune on a refreshed bank: `python -m reports.studies.folds` writes reports/folds.csv.

Of the default data set's training images alone, in four folds: three are attacked through the prompts and tuned on, in
rounds, as the stage `refresh` does it; the fourth is attacked through what came out, by PGD on the cross-entropy and on
the margin, the worse of both for each image. Beside prompts, the K text features themselves are tuned, as if no text
tower had to make them: a cosine classifier on frozen image features.
"""

from collections.abc import Callable, Mapping
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
from stages.crafting.refresh import Refresher
from stages.crafting.shards import craft_shard, steps_of
from stages.datasets.card_file import read_card
from stages.models.clip import Clip, load_clip
from stages.models.logits import cosine_logits
from stages.prompts.fit import tuned
from stages.prompts.generators import tuning_generators
from stages.prompts.train import Schedule, tune
from stages.runtime.params import Params, load_params
from stages.storage.images import Images, read_images
from stages.storage.layout import clean_images, method_folder
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
        tune: What differs of `refresh.tune`.
        refresh: What differs of `refresh`.
        free: How to step where free text features are tuned.
    """

    tune: Mapping[str, object] = MappingProxyType({})
    refresh: Mapping[str, object] = MappingProxyType({})
    free: Schedule | None = None


WAYS = {
    DEFAULT: Way(),
    "temperature 2, 100 epochs, lr 0.1": Way(SOFT),
    "the same from words": Way({**SOFT, "init_words": "a photo of a"}),
    "free text features": Way(free=FREE),
    "free text features, temperature 2": Way(SOFT, free=FREE),
    "free text features, temperature 2, 5 rounds": Way(SOFT, {"rounds": 5}, FREE),
    "free text features, temperature 2, eps 1, 2 and 4": Way(SOFT, {"eps": [1, 2, 4]}, FREE),
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
        self.class_names = read_card(dataset).class_names
        found = load_prompts(method_folder(dataset, "all", "zero_shot", "zero_shot") / "prompts.safetensors")
        self.hand = torch.tensor(found.text_features[0])
        self.clean = self.embedded(self.images)

    def embedded(self, images: Images) -> Tensor:
        """Raw embeddings (N, D)."""
        return torch.tensor(embed_shard(self.clip, images, device=CPU, runtime=self.params.runtime).embeddings)

    def tuned(self, way: Way, part: np.ndarray) -> Tensor:
        """Text features (K, D) after rounds on the images of a mask."""
        images, labels = self.images.take(part), torch.tensor(self.images.labels[part])
        refresh = self.params.refresh
        refresh = refresh.model_copy(update={**way.refresh, "tune": refresh.tune.model_copy(update=way.tune)})
        settings = refresh.changed(self.params.tune).model_copy(update={"tuning_seeds": 1})
        refresher = Refresher(self.clip, refresh, seed=self.params.seed, device=CPU, runtime=self.params.runtime)
        text_features, views = self.hand, []
        for round_index in range(refresh.rounds):
            bank, _ = refresher.embedded(images, text_features, round_index=round_index)
            views.append(torch.tensor(bank.embeddings))
            data = {"embeddings": torch.stack(views)[None], "clean_embeddings": self.clean[part], "labels": labels}
            if way.free:
                text_features = self.freely(way.free, settings.clean_fraction, settings.temperature, **data)
            else:
                with TemporaryDirectory() as folder:
                    kept = Path(folder) / "progress.safetensors"
                    found = tuned(settings, self.class_names, self.clip, seed=0, checkpoint=kept, what="", **data)
                text_features = found.text_features[0]
        return text_features

    def freely(self, schedule: Schedule, clean_fraction: float, temperature: float, **data: Any) -> Tensor:
        """Text features (K, D) tuned themselves, from the hand-written prompt's."""
        vectors = self.hand[None].clone()
        progress = tune(
            lambda free: F.normalize(free, dim=-1),
            vectors,
            clean_fraction=clean_fraction,
            logit_scale=self.clip.logit_scale / temperature,
            schedule=schedule,
            generators=tuning_generators(0, 1),
            **data,
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

        def logits_of(pixels: Tensor) -> Tensor:
            return cosine_logits(self.clip.encode_image(pixels), text_features, self.clip.logit_scale)

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
    by_hand = {threat: right.astype(float) for threat, right in laboratory.right(laboratory.hand, every).items()}
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
