"""Images that AutoAttack fools beyond the suite: `python -m reports.studies.autoattack [MODEL ...]`.

It writes reports/autoattack.csv, from what `dvc repro` has made (MODEL `default`), from the experiments of
reports/studies/towers.py, and from the experiment `kinds` of docs/experiments.md. AutoAttack `fast` goes at the images
that the suite leaves right, through the first tuning seed: of the default at all that the suite attacked, else at a
class-balanced draw of IMAGES. `suite` and `autoattack` count what is left of these images. Lines that are there are not
measured again.
"""

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from reports.studies.experiments import checked_out, found
from reports.studies.pixel_prompt import CPU, right
from reports.studies.towers import MODELS
from stages.attacks.linf import LinfBall
from stages.crafting.adaptive import adaptive_attack
from stages.crafting.batching import even_batches
from stages.crafting.shards import craft_shard
from stages.evaluation.load import load_victim
from stages.evaluation.subset import draw_from
from stages.report.inputs import read_study
from stages.report.statistics import robust_rows
from stages.runtime.params import AutoAttack, Suite, load_params
from stages.storage.card import read_card
from stages.storage.images import read_all_images
from stages.storage.layout import clean_images, method_folder

RESULTS = Path("reports/autoattack.csv")
KEY = ["model", "method", "eps"]
DEFAULT, KINDS = "default", "kinds"
OF_TOWERS = ("zero_shot/zero_shot", "refresh/advpt_refreshed", "adversarial/adv_vp")
IMAGES = 100


class Judged(NamedTuple):
    """A method under a threat of the method `suite`.

    Attributes:
        dataset: Name of the data set.
        method: Group and name.
        threat: Name of the threat.
        eps: Its radius, in 1/255.
        images: How many images are drawn from those that the suite attacked.
    """

    dataset: str
    method: str
    threat: str
    eps: int
    images: int


def judged_of(model: str) -> list[Judged]:
    """Return methods of the params.yaml here under every threat of the method `suite`: of a tower some, else all."""
    params = load_params()
    suites = {name: threat for name, threat in params.adaptive.items() if isinstance(threat, Suite)}
    methods = [f"{method.group}/{method.name}" for method in params.methods.all()]
    return [
        Judged(params.datasets[0], method, name, int(threat.eps), int(threat.images) if model == DEFAULT else IMAGES)
        for method in (OF_TOWERS if model in MODELS else methods)
        for name, threat in suites.items()
    ]


def measure(judged: Judged) -> dict[str, Any]:
    """Return how many images the suite leaves in the folder that stages work in, and how many AutoAttack."""
    params = load_params()
    study = read_study(judged.dataset, "all", params)
    outcomes = robust_rows(study.predictions["clean"], study.predictions[judged.threat])
    outcomes = outcomes[(outcomes["method"] == judged.method.rpartition("/")[2]) & (outcomes["seed"] == 0)]
    source = clean_images(judged.dataset, "test")
    images = read_all_images(source)
    classes = range(len(read_card(judged.dataset).class_names))
    drawn = draw_from(source, classes, judged.images, seed=params.seed).images().ids
    left = outcomes["id"][outcomes["robust"] & outcomes["id"].isin(drawn)]
    line = {"method": judged.method, "eps": judged.eps, "n": len(drawn), "suite": len(left)}
    if not len(left):
        return {**line, "autoattack": 0}
    survivors = images.take(np.flatnonzero(np.isin(images.ids, left)))
    victim = load_victim(method_folder(judged.dataset, "all", *judged.method.split("/")), device="cpu")
    counts = {"images": IMAGES, "tuning_seeds": 1, "batch_size": IMAGES}
    attack = adaptive_attack(AutoAttack(method="autoattack", version="fast", eps=judged.eps, **counts), victim, seed=0)
    crafted = craft_shard(
        attack,
        survivors,
        ball=LinfBall(judged.eps / 255),
        seed=params.seed,
        device=CPU,
        batching=even_batches(params.runtime, len(survivors), CPU.type),
    )
    return {**line, "autoattack": int(right(victim, crafted).sum())}


def main() -> None:
    """Measure what is missing; write the table after each line."""
    torch.set_num_threads(1)
    models = [DEFAULT, *MODELS, KINDS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", help=f"of {', '.join(models)}; by default all")
    results = RESULTS.resolve()
    table = pd.read_csv(results) if results.exists() else pd.DataFrame(columns=KEY)
    for model in parser.parse_args().models or models:
        done = {tuple(line) for line in table[KEY].to_numpy()}
        place: AbstractContextManager[None] = nullcontext()
        if model != DEFAULT:
            experiment = f"towers-{model}" if model in MODELS else model
            if not (ref := found(experiment)):
                parser.error(f"no experiment {experiment}; docs/experiments.md says what runs it")
            place = checked_out(ref)
        with place:
            for judged in judged_of(model):
                if (model, judged.method, judged.eps) not in done:
                    line = {"model": model, **measure(judged)}
                    print(line, flush=True)
                    table = pd.concat([table, pd.DataFrame([line])])
                    table = table.sort_values("model", key=lambda names: names.map(models.index), kind="stable")
                    table.convert_dtypes().to_csv(results, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
