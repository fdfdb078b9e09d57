"""A file of an image tower alone, as robust towers are published (FARE, TeCoA), laid over a whole model."""

from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stages.models.checkpoints import of_transformers, parts_of, read_checkpoint
from stages.models.digests import file_digest

PLACES = ("vision_encoder_state_dict", "state_dict", "")  # keys of a checkpoint; the first that holds tensors counts
PREFIXES = ("module.", "model.", "visual.")
OF_TEXT = ("token_embedding.weight", "text_projection", "logit_scale")  # ends of names that no image tower has
SHOWN = 10  # names of each kind in an error: a tower of another architecture has hundreds


def read_image_tower(path: Path, *, sha256: str | None) -> dict[str, Tensor]:
    """Return the weights in a file of an image tower, by their names in open_clip's `model.visual`.

    Args:
        path: A file of safetensors, or what torch loads with `weights_only`. The tower lies in it as it is, or under
            one of PLACES; all its names may begin with PREFIXES.
        sha256: The expected digest of the file.

    Raises:
        ValueError: If the file has another digest, cannot be read, or holds no image tower or more than that.
    """
    found = file_digest(path)
    if found != sha256:
        raise ValueError(
            f"model.visual_sha256: {path} has digest {found}, but {sha256} is expected. If this is the file that you "
            "mean, put its digest there; then a change of the file is noticed"
        )
    try:
        return image_tower_of(read_checkpoint(path))
    except ValueError as error:
        raise ValueError(f"model.visual_weights: {path} cannot be used: {error}") from error


def image_tower_of(content: Any) -> dict[str, Tensor]:
    """Return the weights of the image tower in a checkpoint, without what their names begin with.

    The state of an optimizer and single numbers beside the tower are no part of a model.

    Raises:
        ValueError: If there is no image tower, or anything beside it, such as a text tower or a visual prompt.
    """
    parts = {place: part for place, part in parts_of(content) if any(weight.ndim for weight in part.values())}
    save = "save `model.visual.state_dict()` as a file of its own"
    if not (places := [place for place in PLACES if place in parts]):
        held = f"tensors under {shown(map(repr, parts))} alone" if parts else "no tensors by name"
        raise ValueError(f"it holds {held}; allowed are {shown(map(repr, PLACES[:2]))}, or no key above them: {save}")
    if others := [place for place in parts if place != places[0]]:
        names = ", ".join(f"{shown(parts[place])} ({place or 'no key above'})" for place in others)
        raise ValueError(
            f"it holds an image tower ({places[0]}) and more: {names}, such as a visual prompt that was tuned with it. "
            f"Only an image tower alone is allowed: {save}"
        )
    weights = without_prefix(parts[places[0]])
    if message := of_transformers(weights):
        raise ValueError(message)
    if text := [name for name in weights if name.endswith(OF_TEXT)]:
        raise ValueError(
            f"it holds a text tower, too ({shown(text)}). Use it as model.pretrained, without visual_weights; or, for "
            f"its image tower alone, {save}"
        )
    return weights


def without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by their names without any of PREFIXES that all of them begin with."""
    while prefix := next((start for start in PREFIXES if all(name.startswith(start) for name in weights)), None):
        weights = {name.removeprefix(prefix): weight for name, weight in weights.items()}
    return weights


def lay_over(visual: nn.Module, weights: dict[str, Tensor], *, name: str) -> None:
    """Replace all weights of a model's image tower, in its own precision.

    Args:
        visual: The image tower.
        weights: By name, of the same names and shapes.
        name: The model's, for the error.

    Raises:
        ValueError: If a weight is missing, unexpected, of another shape, or quantized; all of them are named.
    """
    wanted = visual.state_dict()
    missing, unexpected = ([key for key in one if key not in other] for one, other in permutations((wanted, weights)))
    shapes, quantized = [], []
    for key, own in wanted.items():
        other = weights.get(key, own)
        if other.shape != own.shape:
            shapes.append(f"{key} {tuple(other.shape)} instead of {tuple(own.shape)}")
        if own.is_floating_point() and not other.is_floating_point():
            quantized.append(f"{key} {other.dtype}")
    wrong = {"missing": missing, "unexpected": unexpected, "of another shape": shapes, "quantized": quantized}
    if any(wrong.values()):
        told = "; ".join(f"{len(keys)} {kind}: {shown(keys)}" for kind, keys in wrong.items() if keys)
        raise ValueError(
            f"model.visual_weights: of the {len(wanted)} weights in the image tower of {name} there are {told}. "
            "model.name has to be the model that the tower was fine-tuned from, of its architecture and image size"
        )
    visual.load_state_dict(weights)


def shown(keys: Iterable[str]) -> str:
    """Return the first keys, and how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
