"""transfer: prompts tuned elsewhere -> the same method under other class names.

A shared context, an image prompt or both move from one data set to another (cross-data-set, ImageNet to its shifts), or
from the base classes of a data set to its new ones.
"""

from dataclasses import replace

import torch

from stages.evaluation.study import study_labels
from stages.models.clip import load_model
from stages.models.context import LAYOUT, assemble
from stages.models.text_tower import TextTower
from stages.prompts.adversarial import learner_of, text_arrays
from stages.prompts.learners import task_of
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.card import read_card
from stages.storage.files import replacing, require_writable
from stages.storage.layout import method_folder, prompts_file
from stages.storage.prompts import load_prompts, save_prompts
from stages.storage.provenance import require, with_versions


@torch.inference_mode()
def main(dataset: str, study: str, group: str, method: str) -> str:
    """Encode the class names of a study under the prompts of a method that was tuned on others."""
    params = load_params()
    out = method_folder(dataset, study, group, method)
    require_writable(out)
    card = read_card(dataset)
    class_names = [card.class_names[label] for label in study_labels(study, len(card.class_names))]
    clip, device = load_model(params)
    path = prompts_file(*((dataset, "base") if study == "new" else (study, "all")), group, method)
    source = load_prompts(path)
    require(source.provenance, path, model=clip.fingerprint)
    settings = source.provenance["block"]
    if source.logit_bias is not None or settings.get("class_specific"):
        raise ValueError(f"{path}: what it learnt belongs to its classes; remove it: -S '~methods.{group}.{method}'")
    if group == "adversarial":
        generators = [torch.Generator()]  # of initial prompts, which are replaced by those of the file
        learner = learner_of(task_of(settings, class_names, card.template, clip, generators))
        template = learner.template
        parameters = {name: getattr(source, name) for name in learner.initial}
        encoded = text_arrays(learner, parameters, device)
    else:
        tower = TextTower(clip.model, clip.tokenizer)
        template = source.template
        layout = {name: settings[name] for name in LAYOUT}
        prompts = assemble(class_names, tower, **layout)
        context = torch.tensor(source.context, device=device)
        encoded = {"text_features": prompts.text_features(context, tower).cpu().numpy()}
    moved = replace(
        source,
        **encoded,
        logit_scale=clip.logit_scale,
        class_names=class_names,
        template=template,
        provenance=with_versions(
            dataset=dataset,
            dataset_sha256=card.sha256,
            study=study,
            method=method,
            model=clip.fingerprint,
            tuned=source.provenance,
        ),
    )
    with replacing(out) as folder:
        folder.mkdir()
        save_prompts(folder / "prompts.safetensors", moved)
    return f"wrote {out}, prompts of {path.parent} under {len(class_names)} class names of {dataset}"


if __name__ == "__main__":
    command(main)
