"""Classify one image with a method and with the hand-written prompt beside it."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from stages.defences.victim import Victim
from stages.evaluation.image_features import vote
from stages.evaluation.load import FILE, load_model, prompts_file, require_seed, victim_of
from stages.models.device import choose_device, to_tensor
from stages.runtime.params import Params
from stages.storage.card import composed
from stages.storage.prompts import load_prompts
from stages.storage.provenance import require

ZERO_SHOT = "zero_shot"  # the group of hand-written prompts


class LoadedMethod(NamedTuple):
    """A method, ready to classify images.

    Attributes:
        name: As in params.yaml.
        seed: The tuning seed; 0 for a hand-written prompt.
        label: For tables: its label in params.yaml, or its name; with the tuning seed if it was tuned.
        class_names: K names.
        victim: Maps images to logits (N, K).
    """

    name: str
    seed: int
    label: str
    class_names: list[str]
    victim: Victim


class PromptPrediction(NamedTuple):
    """The likeliest classes of one image by one method, best first, and their probabilities."""

    method: str
    seed: int
    label: str
    classes: list[str]
    probabilities: list[float]


def load_methods(path: Path, params: Params, *, seed: int) -> list[LoadedMethod]:
    """Load a method, and before it the reference: the first hand-written prompt beside it, if it has the same classes.

    Args:
        path: The method's folder in data/prompts, or the file in it.
        params: For the device and the labels.
        seed: The tuning seed.

    Raises:
        ValueError: If a file is missing or damaged, has no such seed, the two are of different models, or the model
            cannot be had.
    """
    path = prompts_file(path)
    prompts = load_prompts(path)
    require_seed(prompts, path, seed)
    methods, model = [(path, prompts, seed)], prompts.provenance.get("model")
    beside = reference_of(path)
    if beside and not beside.samefile(path):
        reference = load_prompts(beside)
        require(reference.provenance, beside, model=model)
        if [*map(composed, reference.class_names)] == [*map(composed, prompts.class_names)]:
            methods.insert(0, (beside, reference, 0))
    clip = load_model(model, path, choose_device(params.runtime.device))
    return [
        LoadedMethod(
            name := str(prompts.provenance.get("method", "unnamed")),
            seed,
            label_of(name, params) + ("" if group_of(path) == ZERO_SHOT else f", seed {seed}"),
            prompts.class_names,
            victim_of(prompts, clip, seed=seed),
        )
        for path, prompts, seed in methods
    ]


def label_of(name: str, params: Params) -> str:
    """Return what tables call a method: its label in params.yaml, or its name."""
    return next((method.label for method in params.methods.all() if method.name == name), name)


def group_of(path: Path) -> str:
    """Return the group of a method's file, which lies in data/prompts/<data set>/<study>/<group>/<method>."""
    return path.absolute().parents[1].name


def reference_of(path: Path) -> Path | None:
    """Return the first file of prompts of the group `zero_shot` in the study of a method's file."""
    return min(path.absolute().parents[2].glob(f"{ZERO_SHOT}/*/{FILE}"), default=None)


def predict_image(image: Image.Image, methods: list[LoadedMethod], *, top: int) -> list[PromptPrediction]:
    """Classify an RGB image of any size with each method; all classes if there are fewer than `top`.

    The probabilities of a random method are the shares of its draws that vote for each class.
    """
    clip = methods[0].victim.clip
    images = to_tensor(clip.fit(image)[None], next(clip.parameters()).device)
    predictions = []
    for name, seed, label, class_names, victim in methods:
        (logits,) = vote(victim, images, ["image"], seed=0).double()  # the same draws, whatever came before
        probabilities = logits / logits.sum() if victim.is_random else logits.softmax(-1)
        best = probabilities.topk(min(top, len(class_names)))
        classes = [class_names[index] for index in best.indices.tolist()]
        predictions.append(PromptPrediction(name, seed, label, classes, best.values.tolist()))
    return predictions
