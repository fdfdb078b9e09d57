"""Classify one image with hand-written and tuned prompts, through the model that they were made with."""

from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from stages.datasets.names import composed
from stages.models.clip import Clip, load_clip, weights_digest
from stages.models.device import to_tensor
from stages.models.logits import exact_logits
from stages.runtime.params import Model
from stages.storage.prompts import PromptFile, load_prompts
from stages.storage.provenance import Provenance, require

FILE = "prompts.safetensors"


class SeededPrompts(NamedTuple):
    """One prompt as one tuning seed left it.

    Attributes:
        prompt: `hand`, `coop`, `advpt` or `advpt_refreshed`.
        seed: The tuning seed; 0 for the hand-written prompt.
        prompts: The file that it is in.
    """

    prompt: str
    seed: int
    prompts: PromptFile


class PromptPrediction(NamedTuple):
    """The likeliest classes of one image by one prompt, best first, and their probabilities."""

    voice: SeededPrompts
    classes: list[str]
    probabilities: list[float]


def read_seeded_prompts(place: Path, seed: int) -> tuple[list[SeededPrompts], Provenance]:
    """Reads prompts and the hand-written ones beside them, which come first if there are any of the same classes.

    Tells the model of both, too.

    Args:
        place: The file or its folder.
        seed: The tuning seed.

    Raises:
        ValueError: If a file is missing or damaged, has no such seed, or the two are of different models.
    """
    path = place if place.is_file() else place / FILE
    prompts = load_prompts(path)
    seeds, model = len(prompts.text_features), prompts.provenance.get("model")
    if not 0 <= seed < seeds:
        raise ValueError(f"--seed: {seed}; {path} has tuning seeds from 0 to {seeds - 1}")
    voices = [SeededPrompts(prompts.provenance.get("prompt", "unnamed"), seed, prompts)]
    beside = path.absolute().parents[1] / "hand" / FILE
    if beside.is_file() and not beside.samefile(path):
        hand = load_prompts(beside)
        require(hand.provenance, beside, model=model)
        if [*map(composed, hand.class_names)] == [*map(composed, prompts.class_names)]:
            voices.insert(0, SeededPrompts("hand", 0, hand))
    return voices, model


def load_model(model: Provenance, place: Path, device: torch.device) -> Clip:
    """Loads the model that prompts were made with.

    Raises:
        ValueError: If it cannot be had, or what is here under its name has another digest.
    """
    try:
        wanted = Model(**{**model, "precision": "fp32"})
        found = weights_digest(wanted.name, wanted.pretrained)
        if found != wanted.sha256:
            raise ValueError(
                f"sha256 {wanted.sha256}, but under that name lie weights of {found}, which they do not fit"
            )
        return load_clip(**wanted.model_dump(), device=device)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: its prompts were made with the model {model}: {error}") from error


@torch.inference_mode()
def predict_image(image: Image.Image, voices: list[SeededPrompts], clip: Clip, *, top: int) -> list[PromptPrediction]:
    """Classify an RGB image of any size with each prompt; all classes if there are fewer than `top`."""
    images = to_tensor(clip.fit(image)[None], next(clip.model.parameters()).device)
    features = clip.encode_image(images).cpu().numpy()
    answers = []
    for voice in voices:
        text_features = voice.prompts.text_features[voice.seed]
        logits = torch.from_numpy(exact_logits(features, text_features, voice.prompts.logit_scale))
        best = logits[0].softmax(-1).topk(min(top, len(text_features)))
        names = [voice.prompts.class_names[label] for label in best.indices.tolist()]
        answers.append(PromptPrediction(voice, names, best.values.tolist()))
    return answers
