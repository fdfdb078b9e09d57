"""Measure what our deviations from AdvPT's code change: `python -m reports.studies.deviations`.

Writes reports/deviations.csv, on the test images of the committed state, which `dvc repro` has to have made. Each
deviation has two rows, `here` and `there`: accuracy at eps 8, under the label-free attack from one start or under the
transfer attack, of the hand-written prompt and of AdvPT, mean and standard deviation over tuning seeds. An image counts
if it is right clean and attacked.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from reports.studies.starts import PAPER
from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import feature_kl
from stages.attacks.pgd import Objective, pgd
from stages.crafting import transfer
from stages.crafting.feature import feature_attack
from stages.crafting.shards import Attack, steps_of
from stages.crafting.transfer import fit_to, transfer_attack
from stages.evaluation.study import study_labels
from stages.models.clip import Clip, load_clip
from stages.models.device import to_tensor
from stages.models.logits import cosine_logits
from stages.prompts import train
from stages.prompts.fit import fit
from stages.prompts.learners import Task, learner_of
from stages.prompts.train import learning_rate
from stages.runtime.block import Schedule
from stages.runtime.params import FeaturePgd, Params, Reverse, Transfer, load_params
from stages.storage.card import read_card
from stages.storage.images import Images, read_all_images
from stages.storage.layout import clean_images, oblivious_images, prompts_file
from stages.storage.prompts import load_prompts
from stages.tune import training_set, tuning_generators

CPU = torch.device("cpu")
OUT = Path("reports/deviations.csv")
DATASET, EPS = "fashion", 8
LARGER = 3  # times the side of the model's input: images as they are before resizing
BATCH = 250
METHODS = {"hand-written": "zero_shot/zero_shot", "AdvPT": "tune_bank/advpt"}
LABEL_FREE = FeaturePgd(method="feature_pgd", objective="kl", eps=EPS, **PAPER, start="uniform", restarts=1)


class HalfPrecision(TorchDispatchMode):
    """Rounds to fp16 what enters and leaves matrix products and convolutions, of which GPUs keep the sums in fp32, too.

    It stands for autocast, which is far slower on CPUs without units for fp16.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute an operation."""
        name = function.__name__
        if "attention" in name:  # of queries, keys and values, which are products already
            out, *others = function(*args, **(kwargs or {}))
            return in_half(out), *(in_half(others) if "backward" in name else others)
        if "mm" in name or "convolution" in name:
            return in_half(function(*in_half(args), **in_half(kwargs or {})))
        return function(*args, **(kwargs or {}))


def in_half(values: Any) -> Any:
    """Return nested values with every tensor of floats rounded to fp16."""
    return tree_map_only(
        Tensor, lambda tensor: tensor.half().float() if tensor.dtype == torch.float32 else tensor, values
    )


@dataclass(frozen=True)
class Judge:
    """Counts what a model and its methods get right; `context` is where the model computes, such as in fp16."""

    clip: Clip
    images: Images
    methods: dict[str, Tensor]  # text features (S, K, D)
    context: Callable[[], Any] = nullcontext

    def right(self, pixels: Tensor) -> dict[str, np.ndarray]:
        """Return which images (N, 3, H, W) each method gets right: masks (S, N)."""
        with self.context():
            features = embeddings_of(self.clip, pixels)
        labels = torch.from_numpy(self.images.labels)
        return {
            name: (cosine_logits(features, text, self.clip.logit_scale).argmax(-1) == labels).numpy()
            for name, text in self.methods.items()
        }

    def accuracies(self, attacked: Tensor, *, also_clean: bool = True) -> dict[str, float]:
        """Return the accuracy of each method on attacked images (N, 3, H, W), and its spread over seeds."""
        right, clean = self.right(attacked), self.right(to_tensor(self.images.pixels, CPU))
        found = {}
        for name in right:
            of_seeds = (right[name] & (clean[name] | (not also_clean))).mean(1)
            found[name] = float(of_seeds.mean())
            if len(of_seeds) > 1:
                found[f"{name}, std"] = float(of_seeds.std(ddof=1))
        return found


def attacked(attack: Attack, images: Images, seed: int, *, eps: float = EPS, stored: bool = True) -> Tensor:
    """Attack all images; round them to 8 bits unless they are not `stored`."""
    ball, done = steps_of(eps, 1, 1).ball, []
    for start in range(0, len(images), BATCH):
        part = images.take(slice(start, start + BATCH))
        clean = to_tensor(part.pixels, CPU)
        found = attack(clean, torch.from_numpy(part.labels), ImageNoise(seed, part.ids))
        done.append(ball.quantise(found, clean) / 255 if stored else found)
    return torch.cat(done)


def clipped_first(encode: Callable[[Tensor], Tensor]) -> Attack:
    """Return the label-free attack from a start that is clipped to [0, 1] before the first gradient."""
    ball, step_size, steps = steps_of(EPS, LABEL_FREE.steps, LABEL_FREE.step_ratio)

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        return pgd(feature_kl(encode, encode(images)), images, ball=ball, step_size=step_size, steps=steps, noise=noise)

    return attack


def diverse(
    objective: Objective, *, probability: float, smallest: float, noise: ImageNoise, mode: str, per_batch: bool
) -> Objective:
    """Return input diversity as `attacks.objectives.diverse`, resized in another mode or with one draw for a batch."""

    def transformed(images: Tensor) -> Tensor:
        draws, side = noise.uniform((4,)).tolist(), images.shape[-1]
        shrunk = []
        for image, (kept, size, left, top) in zip(images, draws[:1] * len(draws) if per_batch else draws, strict=True):
            small = max(int(side * (smallest + (1 - smallest) * size)), 1) if kept < probability else side
            x, y = (int((side - small + 1) * place) for place in (left, top))
            resized = F.interpolate(image[None], small, mode=mode)
            shrunk.append(F.pad(resized, (x, side - small - x, y, side - small - y)))
        return objective(torch.cat(shrunk))

    return transformed


def of_the_epoch_before(schedule: Schedule, lr: float, epoch: int) -> float:
    """Return `learning_rate` as if it were the epoch before; the first one behind the warm-up has the full rate."""
    if epoch < schedule.warmup_epochs:
        return schedule.warmup_lr
    return learning_rate(schedule.model_copy(update={"warmup_epochs": 0}), lr, epoch - 1)


def embeddings_of(clip: Clip, pixels: Tensor) -> Tensor:
    """Return the raw embeddings (N, D) of images (N, 3, H, W)."""
    with torch.no_grad():
        return torch.cat([clip.encode_image(part) for part in pixels.split(BATCH)])


def bank_of(clip: Clip, images: Images, params: Params) -> Tensor:
    """Return the embeddings (N, D) of training images, attacked as `craft` does."""
    attack = feature_attack(params.attack, clip.gradient_encoder())
    return embeddings_of(clip, attacked(attack, images, params.seed, eps=params.attack.eps))


def advpt(
    clip: Clip, params: Params, *, lr_of: Callable[..., float] = learning_rate, bank: Tensor | None = None
) -> Tensor:
    """Tune AdvPT on the stored bank or on other embeddings (N, D) of the same images; return features (S, K, D)."""
    card = read_card(DATASET)
    settings = params.methods.tune_bank["advpt"].tune(params.tune)
    generators = tuning_generators(params.seed, settings.tuning_seeds)
    learner = learner_of(Task("context", settings, card.class_names, card.template, clip, generators))
    labels = study_labels("all", len(card.class_names))
    training = training_set(card, labels, params, clip, with_bank=True)
    with TemporaryDirectory() as folder, mock.patch.object(train, "learning_rate", lr_of):
        tuned = fit(
            learner,
            settings,
            clip,
            generators=generators,
            embeddings=(torch.tensor(training.bank.embeddings) if bank is None else bank)[None, None],
            clean_embeddings=torch.tensor(training.clean.embeddings),
            labels=torch.tensor(training.clean.labels),
            checkpoint=Path(folder) / "progress",
            what="tune advpt",
        )
    return tuned.text_features


def resized(images: Images, resampling: Image.Resampling) -> Images:
    """Return images whose pixels were enlarged bicubically by LARGER, and reduced again."""
    side = images.pixels.shape[1]
    large = [Image.fromarray(image).resize((LARGER * side,) * 2, Image.Resampling.BICUBIC) for image in images.pixels]
    return replace(images, pixels=np.stack([np.asarray(image.resize((side, side), resampling)) for image in large]))


def pairs(params: Params) -> Iterator[tuple[str, dict[str, float], dict[str, float]]]:
    """Yield each deviation, the accuracies here and those there."""
    clip = load_clip(**params.model.model_dump(), device=CPU)
    images = read_all_images(clean_images(DATASET, "test"))
    texts = {
        name: torch.tensor(load_prompts(prompts_file(DATASET, "all", *method.split("/"))).text_features)
        for name, method in METHODS.items()
    }
    judge, craft = Judge(clip, images, texts), partial(attacked, images=images, seed=params.seed)
    encode = clip.gradient_encoder()
    plain = craft(feature_attack(LABEL_FREE, encode))
    here = judge.accuracies(plain)
    yield "start clipped before the first gradient", here, judge.accuracies(craft(clipped_first(encode)))
    for start in ("one_sided", "small"):
        other = feature_attack(LABEL_FREE.model_copy(update={"start": start}), encode)
        yield f"start: {start}", here, judge.accuracies(craft(other))
    yield "right attacked, whatever clean", here, judge.accuracies(plain, also_clean=False)
    floats = craft(feature_attack(LABEL_FREE, encode), stored=False)
    yield "images kept as floats", here, judge.accuracies(floats)
    with HalfPrecision():
        half = craft(feature_attack(LABEL_FREE, encode))
    yield "fp16 in test attack and evaluation", here, Judge(clip, images, texts, HalfPrecision).accuracies(half)
    yield from tunings(judge, plain, craft, params)
    yield from transfers(judge, craft, params)


def tunings(
    judge: Judge, plain: Tensor, craft: Callable[..., Tensor], params: Params
) -> Iterator[tuple[str, dict[str, float], dict[str, float]]]:
    """Yield the deviations of bank and tuning, on `plain`, the attacked test images."""
    clip, training = judge.clip, read_all_images(clean_images(DATASET, "train"))
    here = judge.accuracies(plain)

    def judged(judge: Judge, plain: Tensor, text_features: Tensor) -> dict[str, float]:
        return replace(judge, methods=judge.methods | {"AdvPT": text_features}).accuracies(plain)

    again = judged(judge, plain, advpt(clip, params, bank=bank_of(clip, training, params)))
    assert again == here, f"bank and tuning again: {again}, stored prompts: {here}"
    with HalfPrecision():
        half = advpt(clip, params, bank=bank_of(clip, training, params))
    yield "fp16 in bank and tuning", here, judged(judge, plain, half)
    yield "cosine schedule: index epoch - 1", here, judged(judge, plain, advpt(clip, params, lr_of=of_the_epoch_before))
    as_here = replace(judge, images=resized(judge.images, Image.Resampling.BICUBIC))
    plain = craft(feature_attack(LABEL_FREE, clip.gradient_encoder()), images=as_here.images)
    here, there = (
        judged(as_here, plain, advpt(clip, params, bank=bank_of(clip, resized(training, resampling), params)))
        for resampling in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)
    )
    yield f"bank images resized bilinearly, from {LARGER} times the size", here, there


def transfers(
    judge: Judge, craft: Callable[..., Tensor], params: Params
) -> Iterator[tuple[str, dict[str, float], dict[str, float]]]:
    """Yield the deviations of the transfer attack, on the default's surrogate."""
    default = params.oblivious["transfer_eps8"]
    assert isinstance(default, Transfer) and default.eps == EPS
    surrogate, _ = fit_to(default.surrogate, clean_images(DATASET, "train"), params.seed, CPU)
    here = judge.accuracies(craft(transfer_attack(default, surrogate)))
    stored = judge.accuracies(to_tensor(read_all_images(oblivious_images(DATASET, "transfer_eps8")).pixels, CPU))
    assert here == stored, f"attacked again: {here}, stored images: {stored}"
    for name, other in {
        "input diversity: nearest pixels": partial(diverse, mode="nearest", per_batch=False),
        f"input diversity: one draw for {BATCH} images": partial(diverse, mode="bilinear", per_batch=True),
    }.items():
        with mock.patch.object(transfer, "diverse", other):
            there = judge.accuracies(craft(transfer_attack(default, surrogate)))
        yield name, here, there
    reverse = default.model_copy(update={"reverse": Reverse(eps=EPS, steps=8, from_step=5)})
    yield "RAP: without its reverse step", judge.accuracies(craft(transfer_attack(reverse, surrogate))), here


if __name__ == "__main__":
    torch.set_num_threads(1)
    lines = []
    for deviation, *accuracies in pairs(load_params()):
        for where, line in zip(("here", "there"), accuracies, strict=True):
            lines.append({"deviation": deviation, "where": where, **line})
        print(*lines[-2:], sep="\n", flush=True)
        pd.DataFrame(lines).round(4).to_csv(OUT, index=False)
