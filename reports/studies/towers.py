"""Judge every method on plain and robust towers: `python -m reports.studies.towers` writes reports/towers.csv.

One experiment of `dvc exp run --temp` for each model of MODELS, under its own name: an experiment that exists is not
run again, and a stage that an interrupted one has finished comes from DVC's cache. The judged eps leaves the zero-shot
prompt between 10 and 70 % of the training images. The bank has twice this eps, the refreshed banks have this eps, and
the pixel prompt is tuned at both, as in the default.
"""

import argparse
import subprocess
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.models.clip import weights_digest
from stages.runtime.params import Params, load_params

RESULTS = Path("reports/towers.csv")
PIXEL_PROMPT = "kind: adv_vp, steps: 2, clean_fraction: 0.25, temperature: 2.0, epochs: 10"
LR = {"fashion": 0.03, "photos": 0.01}  # as in reports/studies/pixel_prompt.py


class Tower(NamedTuple):
    """A model, the data set that it is judged on, and the eps.

    Attributes:
        dataset: Name of the data set.
        eps: Radius of the judged attacks, in 1/255.
        images: Test images under adaptive attack, a class-balanced draw.
    """

    dataset: str
    eps: int
    images: int = 500


MODELS = {
    "tiny-clip": Tower("fashion", 4),
    "tiny-vit": Tower("fashion", 4),
    "tiny-fare": Tower("fashion", 8),
    "tiny-tecoa": Tower("fashion", 8),
    "photo-clip": Tower("photos", 1),
    "photo-vit": Tower("photos", 1),
    "photo-fare": Tower("photos", 4),
    "photo-tecoa": Tower("photos", 4),
}


def overrides(model: str, tower: Tower, params: Params) -> list[str]:
    """Return what the experiment of one model changes, as arguments of `dvc exp run -S`."""
    folder, eps = f"data/embedded/{model}", tower.eps
    label_free = "method: feature_pgd, objective: kl, steps: 20, step_ratio: 2.5, start: uniform, restarts: 2"
    return [
        f"model.name=local-dir:{folder}",
        f"model.sha256={weights_digest('local-dir:' + folder, None)}",
        f"datasets=[{tower.dataset}]",
        "data.test_images=1000",
        f"attack.eps={2 * eps}",
        *(f"methods.refresh.{name}.eps=[{eps}]" for name in params.methods.refresh),
        *(f"~methods.adversarial.{name}" for name in params.methods.adversarial),
        f"+methods.adversarial.adv_vp={{label: pixel prompt, {PIXEL_PROMPT}, lr: {LR[tower.dataset]}, "
        f"eps: [{eps}, {2 * eps}]}}",
        *(f"~oblivious.{name}" for name in params.oblivious),
        f"+oblivious.pgd={{{label_free}, eps: {eps}}}",
        *(f"~adaptive.{name}" for name in params.adaptive),
        f"+adaptive.suite={{method: suite, eps: {eps}, steps: 32, restarts: 2, targets: 2, images: {tower.images}, "
        "tuning_seeds: 1}",
        f"assess.at_eps={eps}",
        f"assess.eps=[{eps}, 64]",  # `assess` is not of this table: the fewest images
        "assess.steps=[5, 10]",
        "assess.images=40",
        "assess.autoattack_images=10",
        "assess.queries=10",
    ]


def git(*arguments: str) -> str:
    """Return what git prints."""
    return subprocess.check_output(["git", *arguments], text=True)


def run(model: str, tower: Tower) -> pd.DataFrame:
    """Return the accuracies of one model, from its experiment, which is run if it does not exist."""
    name = f"towers-{model}"
    if not git("for-each-ref", f"refs/exps/*/*/{name}", "--format=%(refname)"):
        arguments = [word for change in overrides(model, tower, load_params()) for word in ("-S", change)]
        subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *arguments], check=True)
    (ref,) = git("for-each-ref", f"refs/exps/*/*/{name}", "--format=%(refname)").split()
    accuracy = pd.read_csv(StringIO(git("show", f"{ref}:reports/accuracy.csv")))
    accuracy.insert(0, "model", model)
    return accuracy


def main() -> None:
    """Run what is missing; write one table, after each model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=list(MODELS), help=f"of {', '.join(MODELS)}; all by default")
    for model in parser.parse_args().models:
        found = run(model, MODELS[model])
        if RESULTS.exists():
            earlier = pd.read_csv(RESULTS)
            found = pd.concat([earlier[earlier["model"] != model], found])
        found["model"] = pd.Categorical(found["model"], list(MODELS))
        found.sort_values("model", kind="stable").to_csv(RESULTS, index=False, lineterminator="\n")
        print(found[found["model"] == model].to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
