"""zero_shot: class names -> text features of a hand-written prompt. The reference of every table."""

import torch

from stages.evaluation.study import provenance_of, study_labels
from stages.models.clip import load_model
from stages.models.context import handwritten
from stages.models.text_tower import TextTower
from stages.prompts.templates import openai_templates
from stages.runtime.cli import command
from stages.runtime.params import ZeroShot, load_params
from stages.storage.card import read_card
from stages.storage.files import replacing, require_writable
from stages.storage.layout import method_folder
from stages.storage.prompts import PromptFile, save_prompts


@torch.inference_mode()
def main(dataset: str, study: str, method: str) -> str:
    """Encode the hand-written prompt of every class of a study."""
    params = load_params()
    found = params.methods.find("zero_shot", method)
    assert isinstance(found.block, ZeroShot)
    out = method_folder(dataset, study, *found[:2])
    require_writable(out)
    card = read_card(dataset)
    class_names = [card.class_names[label] for label in study_labels(study, len(card.class_names))]
    clip, _ = load_model(params)
    ensemble = found.block.templates == "openai_80"
    templates = openai_templates() if ensemble else [card.template]
    features = handwritten(templates, class_names, TextTower(clip.model, clip.tokenizer))
    prompts = PromptFile(
        text_features=features.cpu().numpy(),
        logit_scale=clip.logit_scale,
        class_names=class_names,
        template=f"the mean of {len(templates)} templates" if ensemble else card.template,
        provenance=provenance_of(found, card, study, params, model=clip.fingerprint),
    )
    with replacing(out) as folder:
        folder.mkdir()
        save_prompts(folder / "prompts.safetensors", prompts)
    return f"wrote {out}, {len(class_names)} classes, {prompts.template!r}"


if __name__ == "__main__":
    command(main)
