"""Judge contexts at the eps of the bank that AdvPT was tuned on: `python -m reports.studies.at_bank_eps`.

Writes reports/at_bank_eps.csv: for each model of reports/studies/towers.py, whose experiments have to be there, the
accuracy of the hand-written prompt, CoOp and AdvPT under the label-free attack of the towers at the eps of their bank,
twice the eps that towers are judged at. An image counts if it is right clean and attacked. `p_reference` is of
McNemar's test against the hand-written prompt, Holm-corrected for all models and methods.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from reports.studies.deviations import CPU, Judge, attacked
from reports.studies.experiments import checked_out, found
from reports.studies.towers import MODELS, Tower
from stages.crafting.feature import feature_attack
from stages.models.clip import load_clip
from stages.models.device import to_tensor
from stages.report.significance import holm, mcnemar
from stages.runtime.params import FeaturePgd, load_params
from stages.storage.images import read_all_images
from stages.storage.layout import clean_images, prompts_file
from stages.storage.prompts import load_prompts

OUT = Path("reports/at_bank_eps.csv")
REFERENCE = "zero_shot"
METHODS = {REFERENCE: "zero_shot", "coop": "tune_clean", "advpt": "tune_bank"}  # and their groups


def lines_of(model: str, tower: Tower) -> list[dict[str, Any]]:
    """Return the accuracies of one model: clean, and at the bank's eps with the uncorrected p."""
    params = load_params()
    threat, eps = params.oblivious["pgd"], params.attack.eps
    assert isinstance(threat, FeaturePgd) and eps == 2 * tower.eps
    clip = load_clip(**params.model.model_dump(), device=CPU)
    texts = {
        name: torch.tensor(load_prompts(prompts_file(tower.dataset, "all", group, name)).text_features)
        for name, group in METHODS.items()
    }
    judge = Judge(clip, read_all_images(clean_images(tower.dataset, "test")), texts)
    attack = feature_attack(threat.model_copy(update={"eps": eps}), clip.gradient_encoder())
    clean = judge.right(to_tensor(judge.images.pixels, CPU))
    harmed = judge.right(attacked(attack, judge.images, params.seed, eps=eps))
    robust = {name: clean[name] & harmed[name] for name in METHODS}
    lines = []
    for threat_name, right in {"clean": clean, "pgd": robust}.items():
        for name, masks in right.items():
            p = mcnemar(masks, right[REFERENCE]) if name != REFERENCE and threat_name != "clean" else None
            shares = masks.mean(1)
            std = shares.std(ddof=1) if len(shares) > 1 else None
            line = {"model": model, "eps": int(eps), "threat": threat_name, "method": name, "accuracy": shares.mean()}
            lines.append({**line, "std": std, "p_reference": p})
    return lines


def main() -> None:
    """Judge all models; write the table at the end."""
    torch.set_num_threads(1)
    lines = []
    for model, tower in MODELS.items():
        ref = found(f"towers-{model}")
        assert ref, f"run `python -m reports.studies.towers {model}` first"
        with checked_out(ref):
            lines += lines_of(model, tower)
        print(*lines[-2 * len(METHODS) :], sep="\n", flush=True)
    table = pd.DataFrame(lines)
    tested = table["p_reference"].notna()
    table.loc[tested, "p_reference"] = holm(table.loc[tested, "p_reference"].to_numpy(float))
    table.to_csv(OUT, index=False, lineterminator="\n", float_format="%.4g")


if __name__ == "__main__":
    main()
