"""Pack an entry from the outputs of the pipeline."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from stages.entries.drawn import digest_of, draw
from stages.entries.presets import git, read_preset
from stages.entries.record import (
    CLEAN,
    ENTRY,
    FORMAT,
    PROMPTS,
    WITHSTOOD,
    Record,
    accuracies_of,
    read_record,
    write_outcomes,
    write_record,
)
from stages.entries.rescore import rescore
from stages.evaluation.load import load_model
from stages.evaluation.study import read_method
from stages.models.device import choose_device
from stages.report.inputs import cost_of, methods_of, read_pixels, read_predictions
from stages.report.threats import threats_of
from stages.report.vocabulary import Method, Threat
from stages.runtime.params import Params
from stages.storage.files import replacing
from stages.storage.images import Images, images_provenance, write_images
from stages.storage.layout import adaptive_images, prompts_file

UNSTATED = 1  # version of the suite where the provenance of its images has none
SEED = 0  # the first tuning seed, which all adaptive threats attack
PLACE = tuple[str, str, str, str]  # data set, study, group, method


def git_facts() -> Record:
    """Return the commit that is checked out, marked where files differ from it, and its date."""
    described = git("describe", "--always", "--dirty", "--exclude=*", "--abbrev=40")
    return {"commit": described, "date": git("log", "-1", "--format=%cs")}


def pack(
    place: PLACE, out: Path, params: Params, *, made_at: Record, preset: str | None, most: int | None = None
) -> Record:
    """Write the entry of one method, check it as anyone would, and return its record.

    Args:
        place: Data set, study, group and name of the method.
        out: Folder of the entry; an older entry of the same method there is replaced.
        params: The parameters of the pipeline.
        made_at: Of `git_facts`.
        preset: The preset that the method is part of, if any.
        most: Number of images, drawn from those under adaptive attack; None is all of them.

    Raises:
        ValueError: If outputs are missing or were made with other parameters, or `out` is something else.
    """
    dataset, study, group, name = place
    if preset is not None:
        read_preset(preset)
    if params.data.validation:
        raise ValueError(f"data.validation: {params.data.validation}; an entry is about test images: 0 is allowed")
    prompts = read_method(dataset, study, params.methods.find(group, name), params)
    require_replaceable(out, prompts.provenance["model"], place, params.seed)
    method = next(one for one in methods_of(params, study) if (one.group, one.name) == (group, name))
    threats = [threat for threat in threats_of(params.oblivious, params.adaptive) if not threat.is_worst]
    adaptive = [threat for threat in threats if threat.knowledge == "adaptive"]
    suites = {threat.name: threat.eps for threat in adaptive if threat.attack["method"] == "suite"}
    all_eps = sorted({threat.eps for threat in adaptive})
    if not suites or set(all_eps) - set(suites.values()):
        raise ValueError(f"params.yaml needs an adaptive threat of the method suite at every eps of: {all_eps}")
    correct = correct_by_threat(dataset, study, method, threats)
    count = min(int(correct[threat.name].notna().sum()) for threat in adaptive)
    model = load_model(prompts.provenance["model"], prompts_file(*place), choose_device(params.runtime.device))
    clean = draw(dataset, study, min(count, most or count), seed=params.seed, fit=model.fit)
    correct = correct.loc[clean.ids]
    assert correct.notna().all(axis=None), "smaller draws lie in larger ones"
    correct = correct.astype(bool)
    made_by = [images_provenance(adaptive_images(*place, name) / f"seed-{SEED}") for name in suites]
    versions = {made.get("suite", UNSTATED) for made in made_by}
    if len(versions) > 1:
        raise ValueError(f"adaptive images of several versions of the suite: {sorted(versions)}; run `dvc repro`")
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        shutil.copyfile(prompts_file(*place), folder / PROMPTS)
        results, outcomes = [], []
        for eps in all_eps:
            of_eps = [threat for threat in threats if threat.eps == eps]
            strongest = strongest_oblivious(of_eps, correct)
            fell_to = fallen(of_eps, correct, strongest)
            write_fallen(folder, place, method, of_eps, fell_to, clean)
            outcomes.append(
                pd.DataFrame({"id": clean.ids, "label": clean.labels, "eps": eps, "fell_to": fell_to.to_numpy()})
            )
            about = {one.name: {"knowledge": one.knowledge, "attack": one.attack} for one in of_eps}
            result: Record = {"norm": "linf", "eps": eps, "threats": about, "strongest_oblivious": strongest}
            results.append(result | accuracies_of(fell_to, strongest))
        write_outcomes(folder, pd.concat(outcomes, ignore_index=True))
        made = prompts.provenance
        record = {
            "format": FORMAT,
            "method": {
                "group": group,
                "name": name,
                "label": method.label,
                "block": made.get("tuned", made)["block"],
                "preset": preset,
                "cost": cost_of(dataset, study, method),
                "tuning_seed": SEED,
            },
            "model": made["model"],
            "data": {
                "dataset": dataset,
                "sha256": made["dataset_sha256"],
                "study": study,
                "seed": params.seed,
                "n": len(clean),
                "images_sha256": digest_of(clean),
            },
            "suite": versions.pop(),
            "results": results,
            "versions": made_by[0]["versions"],
            **made_at,
        }
        write_record(folder, record)
        return rescore(folder, runtime=params.runtime)


def require_replaceable(out: Path, model: Record, place: PLACE, seed: int) -> None:
    """Refuse to overwrite what is no entry, or the entry of another model, method, data set, study or draw."""
    if not out.exists():
        return
    if not (out / ENTRY).is_file():
        raise ValueError(f"{out}: exists and is no entry; name a folder that does not exist yet")
    older = read_record(out)
    digests = [(one["sha256"], one.get("visual_sha256")) for one in (older["model"], model)]
    if digests[0] != digests[1]:
        raise ValueError(f"{out}: the entry of another model, {older['model']}; name another folder, or remove it")
    method, data = older["method"], older["data"]
    found = (data["dataset"], data["study"], method["group"], method["name"])
    if (found, data["seed"]) != (place, seed):
        raise ValueError(
            f"{out}: the entry of {'/'.join(found)}, draw {data['seed']}, not of {'/'.join(place)}, draw {seed}; name "
            "another folder, or remove it"
        )


def correct_by_threat(dataset: str, study: str, method: Method, threats: list[Threat]) -> pd.DataFrame:
    """Return whether the first tuning seed is right on each image (rows) under each threat; NaN if not attacked."""
    tables = read_predictions(dataset, study, method, threats)
    first = {name: rows[rows["seed"] == SEED].set_index("id")["correct"] for name, rows in tables.items()}
    return pd.DataFrame({threat.name: first[threat.name] for threat in threats})


def strongest_oblivious(threats: list[Threat], correct: pd.DataFrame) -> str | None:
    """Return the name of the oblivious threat that leaves fewest images right clean and attacked."""
    oblivious = [threat.name for threat in threats if threat.knowledge == "oblivious"]
    left = {name: (correct["clean"] & correct[name]).sum() for name in oblivious}
    return min(left, key=left.__getitem__, default=None)


def fallen(threats: list[Threat], correct: pd.DataFrame, strongest: str | None) -> pd.Series:
    """Return what each image fell to: the strongest oblivious threat if it did, otherwise the first other one."""
    names = [threat.name for threat in threats]
    ordered = sorted(names, key=lambda name: name != strongest)
    fell_to = pd.Series(WITHSTOOD, correct.index, dtype=object)
    for name in reversed(ordered):
        fell_to[~correct[name]] = name
    fell_to[~correct["clean"]] = CLEAN
    return fell_to


def write_fallen(
    folder: Path, place: PLACE, method: Method, threats: list[Threat], fell_to: pd.Series, clean: Images
) -> None:
    """Write the attacked images that the method fell to at one eps, if any."""
    dataset, study, *_ = place
    parts = []
    for threat in threats:
        chosen = np.flatnonzero((fell_to == threat.name).to_numpy())
        if len(chosen):
            ids = [clean.ids[index] for index in chosen]
            pixels = read_pixels(dataset, method, threat, ids, study=study)
            parts.append(Images(ids, clean.labels[chosen], pixels))
    if parts:
        write_images(folder / "images" / f"eps{threats[0].eps:g}", parts, {})
