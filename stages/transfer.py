"""attach: a shared context tuned elsewhere, under other class names -> data/prompts/<study>, every tuned prompt.

The context moves from one data set to another (cross-data-set, ImageNet to its shifts), or from the base classes of a
data set to its new ones.
"""

from contextlib import ExitStack
from pathlib import Path

import torch

from stages.datasets.card import Card
from stages.datasets.card_file import read_card
from stages.datasets.halves import labels_of
from stages.evaluation.study import TUNED
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.prompts.context import assemble
from stages.prompts.text import TextTower
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.files import replacing, require_writable
from stages.storage.prompts import PromptFile, load_prompts, save_prompts
from stages.storage.provenance import provenance, require


@torch.inference_mode()
def main(tuned: str, dataset: str, study: str, part: str | None = None) -> str:
    """Re-attaches the contexts of the study `tuned` to all classes of a data set, or to a part of them."""
    params = load_params()
    outs = {prompt: Path(f"data/prompts/{study}/{prompt}") for prompt in TUNED}
    require_writable(*outs.values())
    device = choose_device(params.runtime.device)
    card = read_card(dataset)
    class_names = [card.class_names[label] for label in labels_of(part, len(card.class_names))]
    clip = load_clip(**params.model.model_dump(), device=device)
    attached = {prompt: attach(tuned, prompt, card, class_names, clip) for prompt in TUNED}
    with ExitStack() as places:
        for prompt, prompts in attached.items():
            folder = places.enter_context(replacing(outs[prompt]))
            folder.mkdir()
            save_prompts(folder / "prompts.safetensors", prompts)
    return f"wrote data/prompts/{study}, contexts of {tuned} under {len(class_names)} class names of {dataset}"


def attach(tuned: str, prompt: str, card: Card, class_names: list[str], clip: Clip) -> PromptFile:
    """Encodes class names under a context that was tuned for others.

    Raises:
        ValueError: If there is one context for each class, for these classes have none.
    """
    path = Path(f"data/prompts/{tuned}/{prompt}/prompts.safetensors")
    source = load_prompts(path)
    require(source.provenance, path, model=clip.fingerprint)
    if source.context.ndim == 4:
        raise ValueError(f"{path}: its contexts belong to its classes; set tune.class_specific to false for a transfer")
    settings = source.provenance["tune"]
    tower = TextTower(clip.model, clip.tokenizer)
    layout = assemble(
        class_names,
        tower,
        context_length=settings["context_length"],
        class_position=settings["class_position"],
        class_specific=False,
    )
    context = torch.tensor(source.context, device=next(clip.model.parameters()).device)
    return PromptFile(
        text_features=layout.text_features(context, tower).cpu().numpy(),
        logit_scale=clip.logit_scale,
        class_names=class_names,
        template=source.template,
        provenance=provenance(
            dataset=card.name,
            dataset_sha256=card.sha256,
            prompt=prompt,
            model=clip.fingerprint,
            tuned=source.provenance,
        ),
        context=source.context,
    )


if __name__ == "__main__":
    command(main)
