"""hand: class names -> data/prompts/<dataset>/hand, the text features of the hand-written prompt."""

from pathlib import Path

import torch

from stages.datasets.card_file import read_card
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.prompts.context import handwritten
from stages.prompts.templates import openai_templates
from stages.prompts.text import TextTower
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.files import replacing, require_writable
from stages.storage.prompts import PromptFile, save_prompts
from stages.storage.provenance import provenance


@torch.inference_mode()
def main(dataset: str) -> str:
    """Encodes the hand-written prompt: zero-shot CLIP, the baseline."""
    params = load_params()
    out = Path(f"data/prompts/{dataset}/hand")
    require_writable(out)
    device = choose_device(params.runtime.device)
    card = read_card(dataset)
    clip = load_clip(**params.model.model_dump(), device=device)
    templates = [card.template] if params.hand == "template" else openai_templates()
    features = handwritten(templates, card.class_names, TextTower(clip.model, clip.tokenizer))
    prompts = PromptFile(
        text_features=features.cpu().numpy(),
        logit_scale=clip.logit_scale,
        class_names=card.class_names,
        template=card.template if params.hand == "template" else f"the mean of {len(templates)} templates",
        provenance=provenance(
            dataset=dataset, dataset_sha256=card.sha256, prompt="hand", hand=params.hand, model=clip.fingerprint
        ),
    )
    with replacing(out) as folder:
        folder.mkdir()
        save_prompts(folder / "prompts.safetensors", prompts)
    return f"wrote {out}, {len(card.class_names)} classes, {prompts.template!r}"


if __name__ == "__main__":
    command(main)
