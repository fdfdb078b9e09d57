"""Load methods from data/prompts: the prompts, the model that they were made with, and both as one classifier."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from stages.defences.defence import defence_of
from stages.defences.test_time import test_time_of
from stages.defences.undefended import Wording
from stages.defences.victim import Victim
from stages.models.clip import Clip, load_clip, weights_digest
from stages.models.context import assemble, initial_context
from stages.models.device import choose_device
from stages.models.text_tower import TextTower
from stages.runtime.method_blocks import Defence as DefenceBlock
from stages.runtime.method_blocks import ImageProcessing, Tte
from stages.runtime.params import Model
from stages.storage.prompts import PromptFile, load_prompts
from stages.storage.provenance import Provenance

FILE = "prompts.safetensors"
WORDS = "a photo of a"


def load_victim(path: str | Path, *, seed: int = 0, device: str = "auto") -> Victim:
    """Load a method as a classifier: images (N, 3, H, W) in [0, 1] -> logits (N, K), differentiable.

    Its attribute `class_names` has the K names. It refuses images that it was not made for.

    Run from the top folder of the project where the model is a local folder, as the embedded one is.

    Args:
        path: A folder of data/prompts, such as data/prompts/fashion/all/tune_bank/advpt, or its prompts.safetensors.
        seed: The tuning seed.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ValueError: If the file is missing or damaged or has no such seed, or if its model cannot be had or has changed.
    """
    path = prompts_file(Path(path))
    prompts = load_prompts(path)
    require_seed(prompts, path, seed)
    threads = torch.get_num_threads()
    found = choose_device(device)
    torch.set_num_threads(threads)  # the caller's own, where a stage takes one
    victim = victim_of(prompts, load_model(prompts.provenance.get("model"), path, found), seed=seed)
    victim.class_names = prompts.class_names
    victim.register_forward_pre_hook(check_images)
    return victim


def check_images(victim: Victim, arguments: tuple[Tensor, ...]) -> None:
    """Refuse images of another shape or type, and pixels that were not divided by 255 or are normalised already.

    What lies a little outside [0, 1], such as an image under Gaussian noise, passes.
    """
    images, size = arguments[0], victim.clip.image_size
    if tuple(images.shape[1:]) != (3, size, size) or not images.is_floating_point():
        raise ValueError(
            f"images: {tuple(images.shape)}, {images.dtype}; floating-point images (N, 3, {size}, {size}) are allowed"
        )
    if len(images) and (images.min() < -1 or images.max() > 2):
        raise ValueError(
            f"images: pixels from {images.min():.3g} to {images.max():.3g}; images in [0, 1] are allowed, not "
            "normalised: divide those from 0 to 255 by 255"
        )


def victim_of(prompts: PromptFile, clip: Clip, *, seed: int) -> Victim:
    """Return the classifier of one tuning seed on the device of the towers, behind the defence of its provenance.

    Raises:
        ValueError: If the defence does not fit the method or the model.
    """
    device = next(clip.parameters()).device
    own: dict[str, Any] = {
        name: torch.tensor(arrays[seed], device=device)
        for name in ("logit_bias", "pixels", "tokens", "router")
        if (arrays := getattr(prompts, name)) is not None
    }
    texts = prompts.text_features if prompts.experts is None else prompts.experts
    victim = partial(Victim, clip, torch.tensor(texts[seed], device=device), prompts.logit_scale, **own)
    block = stored_defence(prompts.provenance)
    if block is None:
        return victim()
    if isinstance(block, ImageProcessing):
        return victim(defence=defence_of(block))
    if isinstance(block, Tte) and block.shift >= clip.image_size:
        raise ValueError(f"defence tte: shift {block.shift}; less than the image's side, {clip.image_size}, is allowed")
    wording = partial(wording_of, prompts, clip, seed=seed)
    return victim(test_time=test_time_of(block, blank=partial(blank_feature, clip), wording=wording))


def stored_defence(provenance: Provenance) -> DefenceBlock | None:
    """Return the defence that is named in the provenance of a method.

    Raises:
        ValueError: If there is none of that kind or with such values.
    """
    block = provenance.get("block", {}).get("defence")
    try:
        return block and TypeAdapter(DefenceBlock).validate_python(block)
    except ValidationError as error:
        raise ValueError(f"defence {block}: {error.errors()[0]['msg']}") from error


@torch.no_grad()
def blank_feature(clip: Clip) -> Tensor:
    """Return the feature (D,) of a prompt without a class name."""
    device = next(clip.parameters()).device
    return clip.model.encode_text(clip.tokenizer([f"{WORDS} ."]).to(device), normalize=True)[0]


def wording_of(prompts: PromptFile, clip: Clip, *, seed: int) -> Wording:
    """Return the prompt whose context a defence tunes: the method's shared context, or the words "a photo of a".

    The context of `fap` is its text tokens of the first block; those of deeper blocks stay as they are.

    Raises:
        ValueError: If the method has a context for each class, or several that are mixed.
    """
    if prompts.router is not None:
        raise ValueError("defence r_tpt: the method mixes contexts; one context, or none, is allowed")
    tower = TextTower(clip.model, clip.tokenizer)
    device = next(clip.parameters()).device
    deeper: list[Tensor] = []
    if prompts.tokens is not None and prompts.projection is not None:
        context, *deeper = torch.tensor(prompts.tokens[seed] @ prompts.projection[seed], device=device)
    elif prompts.context is None:
        count = len(tower.tokens(WORDS))
        generators = [torch.Generator()]  # none is drawn from
        context = initial_context(
            tower, context_length=count, words=WORDS, std=0.0, classes=None, generators=generators
        )[0]
    elif prompts.context.ndim == 3:
        context = torch.tensor(prompts.context[seed], device=device)
    else:
        raise ValueError("defence r_tpt: the method has a context for each class; a shared one or none is allowed")
    position = prompts.provenance.get("behind", {}).get("block", {}).get("class_position", "end")
    assembled = assemble(
        prompts.class_names, tower, context_length=len(context), class_position=position, class_specific=False
    )

    def text_features(contexts: Tensor) -> Tensor:
        return assembled.text_features(contexts, tower, [layer.expand(len(contexts), -1, -1) for layer in deeper])

    return Wording(context, text_features)


def prompts_file(path: Path) -> Path:
    """Return the file of prompts in a folder; a file is returned as it is.

    Raises:
        ValueError: If there is no such folder, but other methods are beside it; the message names them.
    """
    if path.exists():
        return path if path.is_file() else path / FILE
    study = path.absolute().parent.parent
    if beside := sorted(file.parent.relative_to(study).as_posix() for file in study.glob(f"*/*/{FILE}")):
        raise ValueError(f"{path}: no such method; in {study.name} there are {', '.join(beside)}")
    return path / FILE


def require_seed(prompts: PromptFile, path: Path, seed: int) -> None:
    """Refuse a tuning seed that a file of prompts does not have."""
    seeds = len(prompts.text_features)
    if not 0 <= seed < seeds:
        raise ValueError(f"seed: {seed}; {path} has tuning seeds from 0 to {seeds - 1}")


def load_model(model: Provenance | None, path: Path, device: torch.device) -> Clip:
    """Load the model that prompts were made with.

    Raises:
        ValueError: If it cannot be had, or if what is here under its name has another digest.
    """
    try:
        wanted = Model(**{**(model or {}), "precision": "fp32"})
        found = weights_digest(wanted.name, wanted.pretrained)
        if found != wanted.sha256:
            raise ValueError(f"sha256 {wanted.sha256}, but the weights under that name have {found}, which do not fit")
        return load_clip(**wanted.model_dump(), device=device)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its prompts were made with the model {model}: {error}") from error
