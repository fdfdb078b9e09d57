"""Judge every method on plain and robust towers.

`python -m reports.studies.towers` writes reports/towers.csv and, of clean images class by class,
reports/towers_classes.csv.

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

from reports.studies.experiments import found
from stages.entries.presets import git
from stages.models.clip import weights_digest
from stages.runtime.params import Params, load_params

RESULTS, CLASSES = Path("reports/towers.csv"), Path("reports/towers_classes.csv")
PIXEL_PROMPT = "kind: adv_vp, steps: 2, clean_fraction: 0.25, temperature: 2.0, epochs: 10"
WORDS = "init_words: a photo of a, context_length: 4"
LR = {"fashion": 0.03, "photos": 0.01}  # as in reports/studies/pixel_prompt.py


class Tower(NamedTuple):
    """A model, the data set that it is judged on, and the eps.

    Attributes:
        dataset: Name of the data set.
        eps: Radius of the judged attacks, in 1/255.
        images: Test images under adaptive attack, a class-balanced draw.
        from_words: Whether CoOp and AdvPT start from words, too: where they do not learn from a random context.
    """

    dataset: str
    eps: int
    images: int = 500
    from_words: bool = False


MODELS = {
    "tiny-clip": Tower("fashion", 4),
    "tiny-vit": Tower("fashion", 4),
    "tiny-fare": Tower("fashion", 8),
    "tiny-tecoa": Tower("fashion", 8),
    "photo-clip": Tower("photos", 1, from_words=True),
    "photo-vit": Tower("photos", 1),
    "photo-fare": Tower("photos", 4),
    "photo-tecoa": Tower("photos", 4),
}


def overrides(model: str, tower: Tower, params: Params) -> list[str]:
    """Return what the experiment of one model changes, as arguments of `dvc exp run -S`."""
    folder, eps = f"data/embedded/{model}", tower.eps
    label_free = "method: feature_pgd, objective: kl, steps: 20, step_ratio: 2.5, start: uniform, restarts: 2"
    words = {"tune_clean.coop": "CoOp from words", "tune_bank.advpt": "AdvPT from words"} if tower.from_words else {}
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
        *(f"+methods.{name}_words={{label: {label}, {WORDS}}}" for name, label in words.items()),
        *(f"~oblivious.{name}" for name in params.oblivious),
        f"+oblivious.pgd={{{label_free}, eps: {eps}}}",
        *(f"~adaptive.{name}" for name in params.adaptive),
        f"+adaptive.suite={{method: suite, eps: {eps}, steps: 32, restarts: 2, targets: 2, images: {tower.images}, "
        "tuning_seeds: 3}",
        f"assess.at_eps={eps}",
        f"assess.eps=[{eps}, 64]",  # `assess` is not of this table: the fewest images
        "assess.steps=[5, 10]",
        "assess.images=40",
        "assess.autoattack_images=10",
        "assess.queries=10",
    ]


def experiment(model: str, tower: Tower) -> str:
    """Return the git reference of a model's experiment, which is run if it does not exist."""
    name = f"towers-{model}"
    if not found(name):
        arguments = [word for change in overrides(model, tower, load_params()) for word in ("-S", change)]
        subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *arguments], check=True)
    ref = found(name)
    assert ref
    return ref


def table_of(ref: str, path: str) -> pd.DataFrame:
    """Return a table of one experiment's reports."""
    return pd.read_csv(StringIO(git("show", f"{ref}:{path}")))


def write_table(results: Path, model: str, lines: pd.DataFrame) -> None:
    """Replace the lines of one model in a table."""
    lines.insert(0, "model", model)
    if results.exists():
        earlier = pd.read_csv(results)
        lines = pd.concat([earlier[earlier["model"] != model], lines])
    lines["model"] = pd.Categorical(lines["model"], list(MODELS))
    lines.sort_values("model", kind="stable").to_csv(results, index=False, lineterminator="\n")


def main() -> None:
    """Run what is missing; write the tables, after each model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)}; by default all")
    options = parser.parse_args()
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"no model called {min(unknown)} here; there are: {', '.join(MODELS)}")
    for model in options.models or MODELS:
        ref = experiment(model, MODELS[model])
        accuracy, classes = table_of(ref, "reports/accuracy.csv"), table_of(ref, "reports/classes.csv")
        print(accuracy.to_string(index=False), flush=True)
        write_table(RESULTS, model, accuracy)
        write_table(CLASSES, model, classes[classes["threat"] == "clean"])


if __name__ == "__main__":
    main()
