"""Which models can be defended: square images, and a text tower under which a learnable context fits."""


def check_configuration(name: str, configuration: dict) -> None:
    """Refuses a model by its configuration alone, before weights are fetched or anything is computed.

    A logit bias (`init_logit_bias`) is welcome: it is the same for all classes, so no softmax sees it.

    Args:
        name: For the error.
        configuration: The `model_cfg` of open_clip.

    Raises:
        ValueError: If no learnable context fits into the text tower, or images are not square; the reason is named.
    """
    text = configuration.get("text_cfg", {})
    pool = text.get("pool_type", "argmax")
    reasons = {
        f"is the Hugging Face model {text.get('hf_model_name')}": text.get("hf_model_name"),
        "is not causal": text.get("no_causal_mask"),
        "reads its feature at a class token behind the text": text.get("embed_cls"),
        f"reads its feature at the place {pool!r}, not at the end of the text": pool not in ("argmax", "eos"),
        f"has the Hugging Face tokenizer {text.get('hf_tokenizer_name')}": text.get("hf_tokenizer_name"),
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise ValueError(
            f"model.name: no learnable context fits into the text tower of {name}: it {', it '.join(found)}. "
            "What fits is open_clip's own causal text tower with its own tokenizer, such as that of ViT-B-16"
        )
    size = configuration.get("vision_cfg", {}).get("image_size", 224)
    if not isinstance(size, int) and len(set(size)) > 1:
        raise ValueError(f"model.name: {name} takes images of {size[0]}x{size[1]} pixels; only square ones are allowed")


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
