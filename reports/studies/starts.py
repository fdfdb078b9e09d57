"""Compare starts of the label-free attack: `python -m reports.studies.starts` writes reports/starts.csv.

On the test images of the committed state, which `dvc repro` has to have made. One line for each eps, kind of attack,
number of starts and method: accuracy under attack (right on the clean image, too), its 95 % Wilson interval, the mean
objective that the attack reaches. Of several starts the one with the largest objective counts; labels play no part.
The number of starts and of steps of the default threats was chosen on training images.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.attacks.linf import LinfBall
from stages.crafting.batching import even_batches
from stages.crafting.embedding import embed_shard
from stages.crafting.feature import OBJECTIVES, feature_attack
from stages.crafting.shards import craft_shard
from stages.evaluation.study import predictions_table, read_method
from stages.models.clip import Clip, load_clip
from stages.report.statistics import wilson
from stages.runtime.params import FeaturePgd, Params, load_params
from stages.storage.embeddings import Bank
from stages.storage.images import Images, read_all_images
from stages.storage.layout import oblivious_images
from stages.storage.prompts import PromptFile

CPU = torch.device("cpu")
OUT = Path("reports/starts.csv")
EPS = (4, 8, 16)
STARTS = (1, 2, 5, 10)
PAPER: dict[str, Any] = {"steps": 40, "step_ratio": 1.25}
KINDS: dict[str, dict[str, Any]] = {
    "default": {"steps": 20, "step_ratio": 2.5, "start": "uniform"},
    "paper's steps": {**PAPER, "start": "uniform"},
    "paper's steps and one-sided start": {**PAPER, "start": "one_sided"},
}


def objective_of(clean: Bank, attacked: Bank) -> np.ndarray:
    """KL of each attacked embedding from its clean one (N,)."""
    features, moved = (torch.from_numpy(bank.embeddings) for bank in (clean, attacked))
    return OBJECTIVES["kl"](lambda images: moved, features)(moved).numpy()


def attempts(clip: Clip, shard: Images, params: Params, settings: FeaturePgd) -> Iterator[Bank]:
    """Embeddings of the shard after one start after the other, each with noise of its own."""
    attack, batching = feature_attack(settings, clip.encode_image), even_batches(params.runtime, len(shard), "cpu")
    ball = LinfBall(settings.eps / 255)
    for seed in range(max(STARTS)):
        crafted = craft_shard(attack, shard, ball=ball, seed=params.seed + seed, device=CPU, batching=batching)
        yield embed_shard(clip, crafted, device=CPU, runtime=params.runtime)


def right_of(prompts: dict[str, PromptFile], bank: Bank) -> dict[str, np.ndarray]:
    """Return which images each method gets right: masks (seeds, N)."""
    about = {"title": "", "method": "", "threat": ""}
    found: dict[str, np.ndarray] = {}
    for name, file in prompts.items():
        tables = (predictions_table(bank, file, seed=seed, **about) for seed in range(len(file.text_features)))
        found[name] = np.array([table["correct"].to_numpy() for table in tables])
    return found


def lines(dataset: str = "fashion") -> Iterator[dict[str, object]]:
    """Yield all rows of the table."""
    params = load_params()
    clip = load_clip(**params.model.model_dump(), device=CPU)
    methods = [method for method in params.methods.all() if method.group != "defended"]
    prompts = {method.name: read_method(dataset, "all", method, params) for method in methods}
    shard = read_all_images(oblivious_images(dataset, "clean"))
    clean = embed_shard(clip, shard, device=CPU, runtime=params.runtime)
    was = right_of(prompts, clean)
    for eps in EPS:
        for kind, changes in KINDS.items():
            settings = FeaturePgd(method="feature_pgd", objective="kl", eps=eps, **changes)
            highest, best = np.full(len(shard), -np.inf), clean.embeddings.copy()
            for count, bank in enumerate(attempts(clip, shard, params, settings), 1):
                values = objective_of(clean, bank)
                better = values > highest
                highest, best[better] = np.maximum(values, highest), bank.embeddings[better]
                if count not in STARTS:
                    continue
                now = right_of(prompts, Bank(clean.ids, clean.labels, best))
                for method, right in now.items():
                    accuracy = float((right & was[method]).mean())
                    low, high = wilson(accuracy, len(shard))
                    yield {
                        "eps": eps, "attack": kind, "starts": count, "method": method, "accuracy": round(accuracy, 4),
                        "low": round(float(low), 4), "high": round(float(high), 4), "n": len(shard),
                        "objective": round(float(highest.mean()), 4),
                    }  # fmt: skip


if __name__ == "__main__":
    table = pd.DataFrame(lines())
    table.to_csv(OUT, index=False)
    print(table.to_string())
