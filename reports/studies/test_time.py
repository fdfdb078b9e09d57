"""Test-time defences beside what they cost: `python -m reports.studies.test_time EXPERIMENT`.

The experiment, by its name, is that of docs/experiments.md. Writes reports/test_time.csv, one row for each method, and
reports/test_time.png. Accuracies are shares of the images that the adaptive threat attacks, under attack of those that
are right clean and attacked. `time` is that of a prediction, in those of the hand-written prompt: medians of
alternating runs in this process. `acts on` is the share of images on which a gated defence acts; `falls to` counts the
images that each attack of the suite got.
"""

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from reports.studies.experiments import checked_out, found
from stages.attacks.noise import ImageNoise
from stages.defences.inner import Closed
from stages.defences.victim import Victim
from stages.evaluation.cost import count_cost
from stages.evaluation.image_features import embed_through
from stages.evaluation.load import victim_of
from stages.evaluation.study import read_method
from stages.models.clip import load_clip
from stages.models.device import to_tensor
from stages.report.inputs import methods_of, read_study
from stages.report.statistics import robust_rows, wilson
from stages.report.style import GRID, as_png, percent_axis
from stages.report.vocabulary import Method
from stages.runtime.params import Params, load_params
from stages.storage.images import Images, read_all_images
from stages.storage.layout import oblivious_images, predictions_file
from stages.storage.parquet import read_footer

DATASET, STUDY = "fashion", "all"
THREATS = {"clean": "clean", "oblivious": "pgd_eps4", "adaptive": "worst_eps4"}
SUITE = "suite_eps4"
TIMINGS = 3
OUT = Path("reports/test_time.csv")
FIGURE = OUT.with_suffix(".png")
UNTUNED = "crops"  # prefix of the ensembles that are drawn as the line of reference


def rows_of(params: Params) -> list[dict[str, Any]]:
    """Return the rows of the table, in the order of the methods."""
    study = read_study(DATASET, STUDY, params)
    clip = load_clip(**params.model.model_dump(), device=torch.device("cpu"))
    victims = {
        one.name: victim_of(read_method(DATASET, STUDY, params.methods.find(one.group, one.name), params), clip, seed=0)
        for one in methods_of(params, STUDY)
    }
    judged = study.predictions[SUITE]
    ids = sorted(judged["id"].unique())
    shown = {name: images_of(THREATS[name], ids) for name in ("clean", "oblivious")}
    times = times_of(victims, shown["clean"], params)
    rows = []
    for method in study.methods:
        own = judged[(judged["method"] == method.name) & (judged["seed"] == 0)]
        victim = victims[method.name]
        rows.append(
            {"method": method.name, "label": method.label, "suite": suite_of(method), "n": len(ids)}
            | accuracies(study.predictions, method, ids)
            | count_cost(victim)
            | {"time": times[method.name]}
            | {f"acts on {name}": share_open(victim, images, params) for name, images in shown.items()}
            | {
                "falls to": ", ".join(
                    f"{attack} {count}" for attack, count in own["attack"][~own["correct"]].value_counts().items()
                )
            }
        )
    return rows


def suite_of(method: Method) -> int:
    """Return the version of the suite that attacked a method."""
    _, made_by = read_footer(predictions_file(DATASET, STUDY, method.group, method.name, SUITE))
    return made_by["images"]["suite"]


def images_of(threat: str, ids: list[str]) -> Images:
    """Return the stored images of a threat with these ids."""
    images = read_all_images(oblivious_images(DATASET, threat))
    return images.take(np.flatnonzero(np.isin(images.ids, ids)))


def accuracies(predictions: dict[str, pd.DataFrame], method: Method, ids: list[str]) -> dict[str, float]:
    """Return what the first tuning seed keeps of these images, with 95 % Wilson intervals."""
    kept: dict[str, float] = {}
    for name, threat in THREATS.items():
        table = robust_rows(predictions["clean"], predictions[threat])
        right = table[(table["method"] == method.name) & (table["seed"] == 0) & table["id"].isin(ids)]["robust"]
        low, high = wilson(right.mean(), len(right))
        kept |= {name: right.mean(), f"{name} low": float(low), f"{name} high": float(high)}
    return kept


def times_of(victims: dict[str, Victim], images: Images, params: Params) -> dict[str, float]:
    """Return how long predictions take, all draws included, in those of the first method."""
    seconds: dict[str, list[float]] = {name: [] for name in victims}
    for _ in range(TIMINGS):
        for name, victim in victims.items():
            start = perf_counter()
            embed_through(victim, images, seed=params.seed, device=torch.device("cpu"), runtime=params.runtime)
            seconds[name].append(perf_counter() - start)
    plain = median(next(iter(seconds.values())))
    return {name: median(runs) / plain for name, runs in seconds.items()}


def share_open(victim: Victim, images: Images, params: Params) -> float | None:
    """Return the share of images on which a gated defence acts, in one draw; None of other methods."""
    if not victim.is_gated:
        return None
    gate = Closed()
    with torch.no_grad():
        victim(
            to_tensor(images.pixels, torch.device("cpu")),
            ImageNoise(params.seed, [f"defence/0/{id}" for id in images.ids]),
            gate,
        )
    return (gate.distance < 0).float().mean().item()


@as_png
def figure_of(table: pd.DataFrame) -> Figure:
    """Draw what each method keeps against both attackers, beside the untuned crops that cost about as much."""
    table = table.assign(passes=table["forwards"] + table["backwards"]).sort_values("adaptive", ignore_index=True)
    figure = Figure(figsize=(8.4, 0.27 * len(table) + 1.1), layout="constrained")
    panel = figure.subplots()
    rows = table.index
    for name, shift, colour, inside in (("oblivious", 0.15, "#0072B2", "white"), ("adaptive", -0.15, *["#D55E00"] * 2)):
        interval = np.abs(table[[f"{name} low", f"{name} high"]].T.to_numpy() - table[name].to_numpy())
        label = f"{name}, eps 4, n = {table['n'].max()}"
        panel.errorbar(
            table[name], rows + shift, xerr=interval, fmt="o", color=colour, mfc=inside, elinewidth=0.8, label=label
        )
    crops = table[table["method"].str.startswith(UNTUNED)].set_index("passes")["adaptive"]
    costly = table[table["passes"] >= crops.index.min()]
    alike = [crops.iloc[np.abs(np.log(crops.index / passes)).argmin()] for passes in costly["passes"]]
    panel.plot(alike, costly.index, "|", color="#333333", markersize=11, label="untuned crops of about the same cost")
    names = [f"{row.label}, {row.passes} pass{'es' * (row.passes > 1)}" for row in table.itertuples()]
    panel.set_yticks(rows, names)
    panel.set(xlabel="accuracy in %")
    panel.grid(axis="x", **GRID)
    percent_axis(panel, "x")
    figure.legend(loc="outside upper right", ncols=3)
    return figure


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", help="its name")
    options = parser.parse_args()
    if not (ref := found(options.experiment)):
        parser.error(f"no experiment called {options.experiment}; `dvc exp show` lists them")
    with checked_out(ref):
        table = pd.DataFrame(rows_of(load_params()))
    table.round(4).to_csv(OUT, index=False)
    FIGURE.write_bytes(figure_of(table))
    print(f"wrote {OUT}, {FIGURE}: {len(table)} methods")


if __name__ == "__main__":
    main()
