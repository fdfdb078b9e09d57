"""Models that can be defended: square images, a text tower under which a learnable context fits, no chance."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

SAME = 1e-4  # of the largest logit: how far two calls may be apart


class Refusal(NamedTuple):
    """A refusal of a model: the kinds of reasons, in words that fit any model, and the message of the error."""

    kinds: tuple[str, ...]
    message: str


def check_configuration(name: str, configuration: dict) -> None:
    """Refuses a model by its configuration alone, before weights are fetched or anything is computed.

    Raises:
        ValueError: If there is a `refusal_of` it.
    """
    if refusal := refusal_of(name, configuration):
        raise ValueError(refusal.message)


def refusal_of(name: str, configuration: dict) -> Refusal | None:
    """Return why a model is refused by its configuration; None if it is not.

    No learnable context fits into the text tower, a tower gives more than features, or images are not square. A logit
    bias (`init_logit_bias`) is welcome: it is the same for all classes, so no softmax sees it.
    """
    text, vision = configuration.get("text_cfg", {}), configuration.get("vision_cfg", {})
    if found := reasons_of(text):
        return Refusal(
            tuple(found),
            f"model.name: no learnable context fits into the text tower of {name}: it {', it '.join(found.values())}. "
            "What fits is open_clip's own causal text tower with its own tokenizer, such as that of ViT-B-16",
        )
    if chatty := [key for key, tower in {"vision_cfg": vision, "text_cfg": text}.items() if tower.get("output_tokens")]:
        return Refusal(
            ("tokens beside features",),
            f"model.name: the {chatty[0]} of {name} has output_tokens: true, so that open_clip gives tokens beside "
            "features; false is allowed, with the same weights",
        )
    size = vision.get("image_size", 224)
    sides = size if isinstance(size, list | tuple) else [size]
    if len(set(sides)) != 1 or not isinstance(sides[0], int):
        told = f"model.name: {name} takes images of {'x'.join(map(str, sides))} pixels; only square ones are allowed"
        return Refusal(("images that are not square",), told)
    return None


def reasons_of(text: dict) -> dict[str, str]:
    """Return why no learnable context fits into the text tower of this configuration, by kind."""
    pool = text.get("pool_type", "argmax")
    model, tokenizer = text.get("hf_model_name"), text.get("hf_tokenizer_name")
    at_class, elsewhere = text.get("embed_cls"), pool not in ("argmax", "eos")
    place = f"reads its feature at the place {pool!r}, not at the end of the text"
    reasons = [
        (model, "text tower of transformers", f"is the Hugging Face model {model}"),
        (text.get("no_causal_mask"), "no causal mask", "is not causal"),
        (at_class, "feature at a class token (CoCa)", "reads its feature at a class token behind the text"),
        (elsewhere, "feature not at the end of the text", place),
        (tokenizer, "tokenizer of transformers", f"has the Hugging Face tokenizer {tokenizer}"),
    ]
    return {kind: told for holds, kind, told in reasons if holds}


def check_end(name: str, configuration: dict, end: int) -> None:
    """Refuses a text tower that reads its feature at another token than the one its tokenizer ends a text with.

    Args:
        name: For the error.
        configuration: The `model_cfg` of open_clip.
        end: The tokenizer's end of text.

    Raises:
        ValueError: If the two differ; with `argmax`, the end of text is the highest token and nothing is stated.
    """
    text = configuration["text_cfg"]
    stated = text.get("eos_id", 2)  # open_clip's default
    if text.get("pool_type") == "eos" and stated != end:
        raise ValueError(f"model.name: the text tower of {name} reads at token {stated}, but a text ends with {end}")


def check_repeats(name: str, model: nn.Module, logits_of: Callable[[], Tensor]) -> None:
    """Refuses a model that is not at rest: what it says of an image would depend on chance or on its neighbours.

    Args:
        name: For the error.
        model: The model.
        logits_of: Its logits, always of the same images and texts.

    Raises:
        ValueError: If a module is in training mode, or two calls give different logits.
    """
    if training := [key for key, module in model.named_modules() if module.training]:
        raise ValueError(f"model.name: {name} is in training mode ({training[-1]}); only eval mode is allowed")
    first, again = logits_of(), logits_of()
    if (apart := (again - first).abs().max()) > SAME * first.abs().max():
        raise ValueError(
            f"model.name: {name} gives logits up to {apart:.3g} apart in two calls with the same images and texts; "
            "only models without chance are allowed"
        )
