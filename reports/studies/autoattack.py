"""What AutoAttack finds beyond the suite, on every tower: `python -m reports.studies.autoattack [MODEL ...]`.

It writes reports/autoattack.csv from the experiments of reports/studies/towers.py: AutoAttack `fast` goes at the images
that the suite leaves right, out of a class-balanced draw of IMAGES of those that the suite attacked, through the first
tuning seed. `suite` and `autoattack` count what is left of these images. Lines that are there are not measured again.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from reports.studies.experiments import checked_out, found
from reports.studies.pixel_prompt import CPU, right
from reports.studies.towers import MODELS, Tower
from stages.attacks.linf import LinfBall
from stages.crafting.adaptive import adaptive_attack
from stages.crafting.batching import even_batches
from stages.crafting.shards import craft_shard
from stages.evaluation.load import load_victim
from stages.evaluation.subset import subset_of
from stages.report.inputs import read_study
from stages.report.statistics import robust_rows
from stages.runtime.params import AutoAttack, load_params
from stages.storage.images import read_all_images
from stages.storage.layout import clean_images, method_folder

RESULTS = Path("reports/autoattack.csv")
KEY = ["model", "method"]
METHODS = ("zero_shot/zero_shot", "refresh/advpt_refreshed", "adversarial/adv_vp")
IMAGES = 100


def measure(method: str, tower: Tower) -> dict[str, Any]:
    """Return how many images of an experiment that is checked out the suite leaves, and how many AutoAttack."""
    params = load_params()
    study = read_study(tower.dataset, "all", params)
    outcomes = robust_rows(study.predictions["clean"], study.predictions["suite"])
    outcomes = outcomes[(outcomes["method"] == method.rpartition("/")[2]) & (outcomes["seed"] == 0)]
    source = clean_images(tower.dataset, "test")
    images = read_all_images(source)
    (positions,) = subset_of(source, range(10), IMAGES, seed=params.seed).values()
    drawn = np.array(images.ids)[positions]
    left = outcomes["id"][outcomes["robust"] & outcomes["id"].isin(drawn)]
    survivors = images.take(np.flatnonzero(np.isin(images.ids, left)))
    victim = load_victim(method_folder(tower.dataset, "all", *method.split("/")), device="cpu")
    counts = {"images": IMAGES, "tuning_seeds": 1, "batch_size": IMAGES}
    attack = adaptive_attack(AutoAttack(method="autoattack", version="fast", eps=tower.eps, **counts), victim, seed=0)
    crafted = craft_shard(
        attack,
        survivors,
        ball=LinfBall(tower.eps / 255),
        seed=params.seed,
        device=CPU,
        batching=even_batches(params.runtime, len(survivors), CPU.type),
    )
    kept = int(right(victim, crafted).sum())
    return {"method": method, "eps": tower.eps, "n": len(drawn), "suite": len(survivors), "autoattack": kept}


def main() -> None:
    """Measure what is missing; write the table after each line."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)}; by default all")
    results = RESULTS.resolve()
    table = pd.read_csv(results) if results.exists() else pd.DataFrame(columns=KEY)
    for model in parser.parse_args().models or MODELS:
        done = set(table["method"][table["model"] == model])
        if not (ref := found(f"towers-{model}")):
            parser.error(f"no experiment towers-{model}; `python -m reports.studies.towers {model}` runs it")
        with checked_out(ref):
            for method in (one for one in METHODS if one not in done):
                line = {"model": model, **measure(method, MODELS[model])}
                print(line, flush=True)
                table = pd.concat([table, pd.DataFrame([line])])
                table.convert_dtypes().to_csv(results, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
