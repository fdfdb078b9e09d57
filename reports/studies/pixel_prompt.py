"""Variants of a pixel prompt, to find what decides: `python -m reports.studies.pixel_prompt MODEL DATASET EPS`.

It writes reports/pixel_prompt.csv, one line for each variant and model; lines that are there are not measured again.
Every variant is tuned on the data set's training images but a quarter, and judged on that quarter: no test image is
seen. MODEL is a folder of data/embedded, DATASET a data set that `python -m stages.fetch DATASET` has listed, EPS what
the prompt is tuned at, together with twice this radius; it is judged at eps 1, 2, 4 and 8 by a suite of 20 steps.
"""

import argparse
import copy
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
from stages.crafting.adversarial import Tuning
from stages.crafting.batching import even_batches
from stages.crafting.shards import craft_shard
from stages.crafting.suite import suite_attack
from stages.datasets.index import read_index
from stages.defences.victim import Victim
from stages.extract import decoder
from stages.models.clip import Clip, load_clip, weights_digest
from stages.models.device import to_tensor
from stages.models.image_tower import token_prompts_fit
from stages.prompts.adversarial import Encoder, learner_of
from stages.prompts.adversarial.adv_vp import Learner as PixelPrompt
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task
from stages.runtime.method_blocks import Adversarial, AdvVlp, AdvVp, AdvVpt, Apt
from stages.runtime.params import Params, Suite, load_params
from stages.storage.card import read_card
from stages.storage.images import Images, read_shard
from stages.storage.parquet import checksum_of

RESULTS = Path("reports/pixel_prompt.csv")
CPU = torch.device("cpu")
HELD_OUT = 4  # each fourth image of a class is judged
KINDS: dict[str, type[Adversarial]] = {"adv_vp": AdvVp, "adv_vpt": AdvVpt, "adv_vlp": AdvVlp, "apt": Apt}
BLOCK: dict[str, Any] = {"kind": "adv_vp", "clean_fraction": 0.25, "steps": 2, "temperature": 2.0, "epochs": 10}
LR = {"fashion": 0.03}  # photos fall by 20 points of clean accuracy under it
PHOTO_LR = 0.01
JUDGED = (0, 1, 2, 4, 8)  # eps, in 1/255; 0 is clean
BORDER = 6  # of 32 pixels, on each side

Pixels = Callable[[np.ndarray], np.ndarray]


class LimitedPrompt(PixelPrompt):
    """A pixel prompt whose entries are clipped to [-limit, limit]."""

    limit = 0.1

    def encode_image(self, encode: Encoder, images: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        return super().encode_image(encode, images, {"pixels": prompts["pixels"].clamp(-self.limit, self.limit)})


class FreeText(PixelPrompt):
    """Free text features instead of a prompt: a linear head on frozen image features, the bound of any text prompt."""

    on_images: tuple[str, ...] = ()  # type: ignore[assignment]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.initial = {"text": self._hand_written[None].clone()}

    def text_features(self, parameters: dict[str, Tensor]) -> Tensor:
        return F.normalize(parameters["text"], dim=-1)

    def encode_image(self, encode: Encoder, images: Tensor, prompts: dict[str, Tensor]) -> Tensor:
        return encode(images)


class FreeTextAndPrompt(FreeText):
    """Free text features and a pixel prompt."""

    on_images = ("pixels",)

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.initial["pixels"] = self._mask.new_zeros(1, 3, *self._mask.shape)

    encode_image = PixelPrompt.encode_image


def centred(pixels: np.ndarray) -> np.ndarray:
    """Return pixels at half contrast between 64 and 191, where no attack meets a border of the range."""
    return (pixels // 2 + 64).astype(np.uint8)


def grey_instead_of_black(pixels: np.ndarray) -> np.ndarray:
    """Return pixels with medium grey where they were black in all channels."""
    return np.where((pixels == 0).all(-1, keepdims=True), np.uint8(128), pixels)


def in_black(pixels: np.ndarray) -> np.ndarray:
    """Return images with a black border over their own pixels."""
    width = BORDER * pixels.shape[1] // 32
    bordered = np.zeros_like(pixels)
    bordered[:, width:-width, width:-width] = pixels[:, width:-width, width:-width]
    return bordered


class Variant(NamedTuple):
    """Differences from the reference, the prompt of BLOCK."""

    block: Mapping[str, Any] = MappingProxyType({})  # keys of the block
    learner: type | None = None  # what is tuned; None for that of the block's kind
    pixels: Pixels | None = None  # what is done to all images (N, H, W, 3), uint8, before anything else
    inverse: tuple[float, float] | None = None  # (factor, offset): the model sees factor * (x - offset)
    share: float = 1.0  # of the tuning images
    shuffled: bool = False  # whether the labels of tuning images are shuffled
    permuted: bool = False  # whether the entries of the tuned prompt are permuted
    radii: tuple[float, ...] = (1.0, 2.0)  # factors of the eps that the prompt is tuned at
    seen: bool = False  # whether it is judged on the images that it was tuned on


TOKENS = {"kind": "adv_vpt", "tokens": 8, "optimizer": "adam", "lr": 0.02}  # for ViTs
DEEP = {**TOKENS, "depth": None}
VARIANTS = {
    "the reference": Variant(),
    "that of params.yaml": Variant({"steps": 1, "epochs": 6, "lr": 0.04, "batch_size": 96}),
    "no clipping of the attack": Variant(pixels=centred, inverse=(2.0, 64 / 255)),
    "grey instead of black": Variant(pixels=grey_instead_of_black),
    "inverted images": Variant(pixels=np.invert),
    "black border of 6/32": Variant(pixels=in_black),
    "frame of 2/32": Variant({"frame": 2}),
    "frame of 4/32": Variant({"frame": 4}),
    "frame of 8/32": Variant({"frame": 8}),
    "entries within 0.05": Variant(learner=type("Within005", (LimitedPrompt,), {"limit": 0.05})),
    "entries within 0.1": Variant(learner=LimitedPrompt),
    "entries within 0.2": Variant(learner=type("Within02", (LimitedPrompt,), {"limit": 0.2})),
    "7 % of the images": Variant(share=0.07),
    "7 % of the images, 142 epochs": Variant({"epochs": 142}, share=0.07),
    "a third of the images": Variant(share=1 / 3),
    "a third of the images, 30 epochs": Variant({"epochs": 30}, share=1 / 3),
    "4 copies": Variant({"copies": 4}),
    "4 copies, lr 0.03": Variant({"lr": 0.03, "copies": 4}),
    "4 copies, half clean": Variant({"copies": 4, "clean_fraction": 0.5}),
    "4 copies, tuned at eps": Variant({"copies": 4}, radii=(1.0,)),
    "4 copies, tuned at half eps": Variant({"copies": 4}, radii=(0.5,)),
    "4 copies, at half and one eps": Variant({"copies": 4}, radii=(0.5, 1.0)),
    "4 copies, at half and one eps, 30 epochs": Variant({"copies": 4, "epochs": 30}, radii=(0.5, 1.0)),
    "4 copies, at half and one eps, half clean, 30 epochs": Variant(
        {"copies": 4, "epochs": 30, "clean_fraction": 0.5}, radii=(0.5, 1.0)
    ),
    "4 copies, at half, one and two eps": Variant({"copies": 4}, radii=(0.5, 1.0, 2.0)),
    "4 copies, 30 epochs": Variant({"copies": 4, "epochs": 30}),
    "no clean images": Variant({"clean_fraction": 0.0}),
    "half clean": Variant({"clean_fraction": 0.5}),
    "clean images alone": Variant({"clean_fraction": 1.0}),
    "tuned at eps": Variant(radii=(1.0,)),
    "tuned at half eps": Variant(radii=(0.5,)),
    "tuned at twice eps": Variant(radii=(2.0,)),
    "1 step": Variant({"steps": 1}),
    "1 step, half clean": Variant({"steps": 1, "clean_fraction": 0.5}),
    "1 step, 30 epochs": Variant({"steps": 1, "epochs": 30}),
    "1 step, lr 0.01, 30 epochs": Variant({"steps": 1, "lr": 0.01, "epochs": 30}),
    "1 step, half clean, 30 epochs": Variant({"steps": 1, "clean_fraction": 0.5, "epochs": 30}),
    "1 step, at half, one and two eps": Variant({"steps": 1}, radii=(0.5, 1.0, 2.0)),
    "5 steps": Variant({"steps": 5}),
    "temperature 1": Variant({"temperature": 1.0}),
    "temperature 4": Variant({"temperature": 4.0}),
    "30 epochs": Variant({"epochs": 30}),
    "lr 0.003": Variant({"lr": 0.003}),
    "lr 0.01": Variant({"lr": 0.01}),
    "lr 0.03": Variant({"lr": 0.03}),
    "lr 0.1": Variant({"lr": 0.1}),
    "8 tokens": Variant({**TOKENS, "depth": 1}),
    "8 tokens in each block": Variant(DEEP),
    "8 tokens in each block, at two and four eps": Variant(DEEP, radii=(2.0, 4.0)),
    "8 tokens in each block, 40 epochs": Variant({**DEEP, "epochs": 40}),
    "8 tokens in each block, 4 copies": Variant({**DEEP, "copies": 4}),
    "8 tokens in each block, 8 copies": Variant({**DEEP, "copies": 8}),
    "8 tokens in each block, 4 copies, half clean": Variant({**DEEP, "copies": 4, "clean_fraction": 0.5}),
    "8 tokens in each block, 4 copies, lr 0.01": Variant({**DEEP, "copies": 4, "lr": 0.01}),
    "16 tokens in each block, 4 copies": Variant({**DEEP, "copies": 4, "tokens": 16}),
    "8 tokens in each block, 4 copies, at two and four eps": Variant({**DEEP, "copies": 4}, radii=(2.0, 4.0)),
    "with a context": Variant({"kind": "adv_vlp"}),
    "with a context, 4 copies": Variant({"kind": "adv_vlp", "copies": 4}),
    "with a context, 4 copies, no clean images, 5 steps": Variant(
        {"kind": "adv_vlp", "copies": 4, "clean_fraction": 0.0, "steps": 5}
    ),
    "with a context, 4 copies, at half and one eps": Variant({"kind": "adv_vlp", "copies": 4}, radii=(0.5, 1.0)),
    "with a context, 4 copies, at half and one eps, 30 epochs": Variant(
        {"kind": "adv_vlp", "copies": 4, "epochs": 30}, radii=(0.5, 1.0)
    ),
    "a context alone": Variant({"kind": "apt", "optimizer": "adam", "batch_size": 128, "text_lr": 0.02}),
    "with free text features": Variant({"kind": "adv_vlp"}, learner=FreeTextAndPrompt),
    "free text features alone": Variant({"kind": "adv_vlp"}, learner=FreeText),
    "the reference, on the tuning images": Variant(seen=True),
    "the reference, entries permuted": Variant(permuted=True),
    "the reference, labels shuffled": Variant(shuffled=True),
}


class Laboratory:
    """A model, and the training images of a data set, cut into those to tune on and those to judge on."""

    def __init__(self, params: Params, model: str, dataset: str, eps: int) -> None:
        name = f"local-dir:data/embedded/{model}"
        self.params, self.eps, self.card = params, eps, read_card(dataset)
        self.clip = load_clip(name, pretrained=None, sha256=weights_digest(name, None), device=CPU)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "train.parquet"
            decoder(self.card, self.clip, 1)(path, 0, read_index(dataset).part("train"))
            images = read_shard(path, checksum_of(path))
        judged = np.zeros(len(images), bool)
        for label in np.unique(images.labels):
            judged[np.flatnonzero(images.labels == label)[::HELD_OUT]] = True
        self.by_hand: dict[Any, dict[str, Any]] = {}
        self.tuning, self.judged = images.take(~judged), images.take(judged)

    def measure(self, variant: Variant) -> dict[str, Any]:
        """Return accuracies of a variant, and of the hand-written prompt on the same images."""
        change = variant.pixels or (lambda pixels: pixels)
        parts = self.tuning, self.tuning if variant.seen else self.judged
        tuning, judged = (Images(part.ids, part.labels, change(part.pixels)) for part in parts)
        factor, offset = variant.inverse or (1.0, 0.0)
        clip = seen_through(self.clip, factor, offset)
        numbers: dict[str, Any] = {"n": len(judged), "tuning images": round(variant.share * len(tuning))}
        kept = variant.pixels, variant.inverse, variant.seen
        untuned = self.by_hand.get(kept)
        victims = {"hand-written": self.hand_written(clip), "tuned": self.tuned(variant, clip, factor, tuning)}
        for name, victim in victims.items():
            for eps in JUDGED:
                column = f"{name}, eps {eps}"
                if eps % factor:  # no 8-bit image is so near
                    continue
                if name == "hand-written" and untuned:
                    numbers[column] = untuned[column]
                    continue
                numbers[column] = 100 * self.accuracy(victim, judged, int(eps / factor))
        self.by_hand[kept] = numbers
        return numbers

    def hand_written(self, clip: Clip) -> Victim:
        task = Task("", None, self.card.class_names, self.card.template, clip, [])
        return Victim(clip, task.handwritten()[0], clip.logit_scale)

    def tuned(self, variant: Variant, clip: Clip, factor: float, images: Images) -> Victim:
        radii = [int(self.eps * radius / factor) for radius in variant.radii]
        block = {**BLOCK, "lr": LR.get(self.card.name, PHOTO_LR), "eps": radii, **variant.block, "tuning_seeds": 1}
        if block.get("frame"):
            block["frame"] = block["frame"] * clip.image_size // 32
        keys = {key: value for key, value in block.items() if block["kind"] != "apt" or key != "lr"}
        settings = KINDS[block["kind"]].model_validate(keys)
        generators = tuning_generators(0, 1)
        task = Task(settings.kind, settings, self.card.class_names, self.card.template, clip, generators)
        learner = (variant.learner or learner_of)(task)
        order = np.random.default_rng(0).permutation(len(images))
        part = images.take(np.sort(order[: round(variant.share * len(images))]))
        if variant.shuffled:
            part = Images(part.ids, np.random.default_rng(0).permutation(part.labels), part.pixels)
        *_, reached = Tuning(learner, clip, settings, part, 0, CPU, self.params.runtime).tune(0, generators[0])
        found = {name: torch.tensor(reached.arrays[name]) for name in learner.initial}
        with torch.no_grad():
            text_features = learner.text_features(found)
        pixels = found.get("pixels")
        if pixels is not None:
            if isinstance(learner, LimitedPrompt):
                pixels = pixels.clamp(-learner.limit, learner.limit)
            if variant.permuted:
                generator = torch.Generator().manual_seed(0)
                pixels = pixels.flatten()[torch.randperm(pixels.numel(), generator=generator)].view_as(pixels)
        return Victim(clip, text_features, clip.logit_scale, pixels=pixels, tokens=found.get("tokens"))

    def accuracy(self, victim: Victim, images: Images, eps: int) -> float:
        """Return the share of images that are right, clean and under attack."""
        runtime = self.params.runtime
        if eps:
            settings = Suite(method="suite", eps=eps, steps=20, restarts=1, targets=1, images="all", tuning_seeds=1)
            attack, ball = suite_attack(settings, victim), LinfBall(eps / 255)
            batching = even_batches(runtime, len(images), CPU.type)
            attacked = craft_shard(attack, images, ball=ball, seed=1, device=CPU, batching=batching)
            return float(np.mean(right(victim, images) & right(victim, attacked)))
        return float(np.mean(right(victim, images)))


def seen_through(clip: Clip, factor: float, offset: float) -> Clip:
    """Return the model of images x that sees factor * (x - offset)."""
    other = copy.copy(clip)
    other._buffers = {"_mean": offset + clip._mean / factor, "_std": clip._std / factor}
    return other


@torch.no_grad()
def right(victim: Victim, images: Images) -> np.ndarray:
    """Return which images (N,) are classified right."""
    parts = images.split(max(1, len(images) // 500))
    logits = torch.cat([victim(to_tensor(part.pixels, CPU)) for part in parts])
    return logits.argmax(-1).numpy() == images.labels


def main() -> None:
    """Measure what is missing; write the table after each line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("eps", type=int)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    laboratory = Laboratory(load_params(), arguments.model, arguments.dataset, arguments.eps)
    is_vit = token_prompts_fit(laboratory.clip.model.visual)
    for name in arguments.variants:
        if VARIANTS[name].block.get("kind") == "adv_vpt" and not is_vit:
            continue
        table = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame({"model": [], "variant": []})
        if ((table["model"] == arguments.model) & (table["variant"] == name)).any():
            continue
        line = {"model": arguments.model, "variant": name, "eps": arguments.eps}
        line |= laboratory.measure(VARIANTS[name])
        print(line, flush=True)
        pd.concat([table, pd.DataFrame([line])]).to_csv(RESULTS, index=False, lineterminator="\n", float_format="%.1f")


if __name__ == "__main__":
    main()
