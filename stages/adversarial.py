"""adversarial: prompts tuned on images that are attacked through them in every batch -> a method and its tuning curve.

Prompts of the image (`adv_vp`, `adv_vpt`), of the text (`apt`, `moapt`), or of both (`adv_vlp`, `adv_vlpt`, `fap`);
every weight stays as it is.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from stages.crafting.adversarial import Tuning
from stages.crafting.batching import fitting
from stages.evaluation.study import provenance_of, study_labels, study_title
from stages.evaluation.subset import part_of
from stages.interpretation.prompt_effect import effect_table
from stages.models.clip import load_clip
from stages.models.device import choose_device
from stages.prompts.adversarial import learner_of, text_arrays
from stages.prompts.checkpoint import CURVES, Progress, load_progress, save_progress
from stages.prompts.fit import write_method
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task
from stages.runtime.cli import command, progress
from stages.runtime.method_blocks import Adversarial
from stages.runtime.params import Params, load_params
from stages.runtime.startup import without_compiler
from stages.storage.card import Card, read_card
from stages.storage.files import require_writable, resuming, whole
from stages.storage.images import Images, checksums_of, images_provenance, read_all_images
from stages.storage.layout import clean_images, method_folder
from stages.storage.parquet import write_table
from stages.storage.prompts import PromptFile
from stages.storage.provenance import Provenance, key_of, require
from stages.storage.ranking import balanced_ranking

SHOWN = 100  # images whose embedding is compared with and without a pixel prompt
SHOWN_ATTACK = {"steps": 10, "step_ratio": 2.5}  # on the objective of tuning


def main(dataset: str, study: str, method: str) -> str:
    """Tune all seeds of one method, on all classes or on the base classes."""
    params = load_params()
    found = params.methods.find("adversarial", method)
    settings = found.block
    assert isinstance(settings, Adversarial)
    out = method_folder(dataset, study, "adversarial", method)
    require_writable(out)
    device = choose_device(params.runtime.device)
    card = read_card(dataset)
    precision = "fp64" if settings.float64 else params.model.precision
    clip = load_clip(**params.model.model_dump(exclude={"precision"}), precision=precision, device=device)
    labels = study_labels(study, len(card.class_names))
    class_names = [card.class_names[label] for label in labels]
    images = training_images(card, labels, params)
    generators = tuning_generators(params.seed, settings.tuning_seeds)
    learner = learner_of(Task(settings.kind, settings, class_names, card.template, clip, generators))
    made_by = provenance_of(found, card, study, params, model=clip.fingerprint, precision=clip.precision)
    named = {**made_by, "class_names": class_names, "template": card.template}
    runtime = fitting(params.runtime, clip.gradient_encoder(), clip.image_size, device)
    tuning = Tuning(learner, clip, settings, images, params.seed, device, runtime)
    key = key_of(named, checksums_of(clean_images(dataset, "train")), device=device.type)
    with resuming(out, key) as pieces, without_compiler():
        checkpoints = [pieces / f"seed-{index:03d}.safetensors" for index in range(len(generators))]
        kept = sum(len(start.loss) for start in map(load_progress, checkpoints) if start)
        reached = [
            tune_seed(tuning, index, generator, checkpoint, what=f"tune {method}")
            for index, (generator, checkpoint) in enumerate(zip(generators, checkpoints, strict=True))
        ]
        prompts = prompt_file(reached, tuning, class_names, made_by)
        loss, accuracy = curves_of(reached)
        write_method(pieces / out.name, prompts, loss, accuracy, study_title(dataset, study))
        if prompts.pixels is not None:
            with whole(pieces / out.name / "effect.parquet") as file:
                write_table(file, effect_of(tuning, prompts), made_by)
    done = f", {kept} of {settings.epochs * len(reached)} epochs from an interrupted run" if kept else ""
    last = np.mean(accuracy[-1])
    return f"wrote {out}, tuning seeds: {len(reached)}, accuracy on the tuning data {last:.3f}{done}{learner.note}"


def training_images(card: Card, labels: range, params: Params) -> Images:
    """Read the training images of some classes.

    Raises:
        ValueError: If they were made by something else than this run states.
    """
    folder = clean_images(card.name, "train")
    same = {"dataset": card.name, "dataset_sha256": card.sha256, "split": "train", "seed": params.seed}
    require(images_provenance(folder), folder, **same, data=params.data.of("train"))
    return part_of(read_all_images(folder), labels)


def tune_seed(tuning: Tuning, index: int, generator: torch.Generator, checkpoint: Path, *, what: str) -> Progress:
    """Tune the prompts of one seed; continue where an interrupted run stopped.

    Args:
        tuning: All that the seeds share.
        index: Which tuning seed.
        generator: Its source of randomness.
        checkpoint: File of the state after each epoch.
        what: Name of the work, for the progress bar.
    """
    reached = start = load_progress(checkpoint)
    left = tuning.settings.epochs - (len(start.loss) if start else 0)
    for reached in progress(tuning.tune(index, generator, start), what=f"{what}, seed {index}", total=left):
        save_progress(checkpoint, reached)
    assert reached is not None
    return reached


def prompt_file(reached: list[Progress], tuning: Tuning, class_names: list[str], made_by: Provenance) -> PromptFile:
    """Return the prompts of all seeds, and their text features."""
    learner = tuning.learner
    parameters = {name: np.stack([seed.arrays[name] for seed in reached]) for name in learner.initial}
    arrays = {**text_arrays(learner, parameters, tuning.device), **parameters}
    return PromptFile(
        logit_scale=tuning.clip.logit_scale,
        class_names=class_names,
        template=learner.template,
        provenance=made_by,
        **{name: array.astype(np.float32) for name, array in arrays.items()},
    )


def effect_of(tuning: Tuning, prompts: PromptFile) -> list[pa.Table]:
    """Compare clean and attacked images in the embedding, with the pixel prompt of the first seed and without.

    Some training images are attacked at the largest eps of tuning, each time through what then embeds them.
    """
    changes = {"clean_fraction": 0.0, "eps": [max(tuning.settings.eps)], **SHOWN_ATTACK}
    tuning, images = replace(tuning, settings=tuning.settings.model_copy(update=changes)), tuning.images
    images = images.take(balanced_ranking(images.ids, images.labels, tuning.seed)[:SHOWN])
    learnt = {name: start.new_tensor(getattr(prompts, name)[0]) for name, start in tuning.learner.initial.items()}
    plain = {**learnt, "pixels": torch.zeros_like(learnt["pixels"])}
    tables = []
    for prompted, parameters in ((False, plain), (True, learnt)):
        with torch.no_grad():
            text_features = tuning.learner.text_features(parameters)
        attacked = tuning.attacked(images, parameters, text_features, key="effect")
        clean, moved = (
            tuning.image_gradients(shown, images, parameters, text_features)[0][:, -1].cpu().numpy()
            for shown in (images, attacked)
        )
        tables.append(effect_table(prompted, clean, moved, images.labels))
    return tables


def curves_of(reached: list[Progress]) -> Iterator[list[list[float]]]:
    """Yield the losses (epochs, S) of all seeds, and the accuracies."""
    for name in CURVES:
        yield np.array([getattr(seed, name) for seed in reached]).T.tolist()


if __name__ == "__main__":
    command(main)
