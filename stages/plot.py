"""plot: rows, tuning curves, images -> reports/: metrics, tables, figures, the page. No tensor library here.

Everything is read by the names in params.yaml: files of threats that are no more may still lie in data/.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.banks.files import replacing
from stages.banks.images import images_provenance, read_images
from stages.banks.provenance import Provenance, require
from stages.banks.table import read_table
from stages.command import command
from stages.datasets.card import Card, read_card
from stages.params import Params, load_params
from stages.prompts.file import load_prompts
from stages.report.findings import findings, headline
from stages.report.origins import datasets_table, flat, prompts_table, threats_table
from stages.report.page import page
from stages.report.pictures import pictures_of
from stages.report.results_table import results_table
from stages.report.samples import sample_of
from stages.report.tables import Rows, accuracy_table, confusion_table, metrics_of, results_of, tuning_table
from stages.report.vocabulary import CLEAN, PROMPTS, Threat, adaptive_partner, shown_threat

REPORTS = Path("reports")
GALLERY_LINES = 4  # over all data sets


@dataclass(frozen=True)
class Study:
    """What was found on one data set: its card, what made each prompt, the tuning curves, the rows of each threat."""

    card: Card
    prompts: dict[str, Provenance]
    curves: pd.DataFrame
    rows: Rows


def main() -> str:
    """Derives every number and every figure from the rows."""
    params = load_params()
    threats = threats_of(params)
    studies = {dataset: read_study(dataset, threats) for dataset in params.datasets}
    shown = shown_threat(threats, studies[params.datasets[0]].prompts["advpt"]["attack"]["eps"])
    seen = [threat for threat in (shown, adaptive_partner(threats, shown.eps)) if threat and threat is not CLEAN]

    results = results_of({dataset: study.rows for dataset, study in studies.items()}, threats)
    class_names = {dataset: study.card.class_names for dataset, study in studies.items()}
    confusions = [confusion_table(study.rows[shown.name], class_names[dataset]) for dataset, study in studies.items()]
    tables = {
        "accuracy": accuracy_table(results),
        "tuning": tuning_table(pd.concat([study.curves for study in studies.values()])),
        "confusion": pd.concat(confusions),
    }
    count = max(1, GALLERY_LINES // len(studies))
    samples = [
        sample_of(dataset, study.rows, class_names[dataset], seen, count, pixels_of=partial(read_pixels, dataset))
        for dataset, study in studies.items()
    ]
    pictures = pictures_of(results, tables, samples, class_names, threats, shown)

    write("metrics.json", json.dumps(metrics_of(results), indent=2) + "\n")
    for name, table in tables.items():
        write(f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    for name, picture in pictures.items():
        write(f"{name}.png", picture.png)
    by_dataset = [results_table(results, dataset, threats) for dataset in studies]
    notes = [findings(results, dataset, threats) for dataset in studies]
    write("index.html", page(by_dataset, notes, list(pictures.values()), origins_of(studies, threats)))
    return f"wrote {REPORTS}, {headline(results, params.datasets[0], [CLEAN, *seen])}"


def threats_of(params: Params) -> list[Threat]:
    """Clean, oblivious, adaptive: the rows of the report in order."""
    kinds = {"oblivious": params.oblivious, "adaptive": params.adaptive}
    named = [
        Threat(name, kind, attack.model_dump()) for kind, attacks in kinds.items() for name, attack in attacks.items()
    ]
    return [CLEAN, *named]


def read_study(dataset: str, threats: list[Threat]) -> Study:
    """Reads what was found on one data set.

    Raises:
        ValueError: If a file is missing or damaged, or its rows are those of other prompts or of another attack.
    """
    folder = Path(f"data/prompts/{dataset}")
    prompts = {name: load_prompts(folder / name / "prompts.safetensors").provenance for name in PROMPTS}
    rows = {}
    for threat in threats:
        path = Path(f"data/rows/{dataset}/{threat.name}.parquet")
        table, made_by = read_table(path)
        require(flat(made_by["prompts"]), path, **flat(prompts))
        source = made_by["images" if threat.knowledge == "adaptive" else "features"]
        require(flat(source), path, **expected(dataset, threat))
        rows[threat.name] = table.to_pandas()
    curves = pd.concat([pd.read_csv(folder / name / "tuning.csv") for name in ("coop", "advpt")])
    return Study(read_card(Path(f"data/cards/{dataset}.json")), prompts, curves, rows)


def expected(dataset: str, threat: Threat) -> Provenance:
    """What must have made the images of a threat, nested keys joined by dots."""
    return flat({"dataset": dataset, "split": "test", "attack": threat.attack})


def read_pixels(dataset: str, threat: Threat, ids: list[str]) -> np.ndarray:
    """The images of the given ids, in their order (N, H, W, 3); holds one shard at a time."""
    folder = {
        "clean": Path(f"data/clean/{dataset}/test/images"),
        "oblivious": Path(f"data/test/{dataset}/{threat.name}/images"),
        "adaptive": Path(f"data/test/{dataset}/{threat.name}/images/advpt-0"),
    }[threat.knowledge]
    require(flat(images_provenance(folder)), folder, **expected(dataset, threat))
    found = {}
    for shard in read_images(folder):
        found |= {id: pixels.copy() for id, pixels in zip(shard.ids, shard.pixels, strict=True) if id in ids}
        if len(found) == len(ids):
            break
    return np.stack([found[id] for id in ids])


def origins_of(studies: dict[str, Study], threats: list[Threat]) -> list[str]:
    """What made the results, as HTML tables."""
    facts = {name: study.card.model_dump(include={"sha256", "source", "licence"}) for name, study in studies.items()}
    prompts = [prompts_table(name, study.prompts) for name, study in studies.items()]
    return [datasets_table(facts), *prompts, threats_table(threats)]


def write(name: str, content: str | bytes) -> None:
    """Writes one file of the report whole."""
    with replacing(REPORTS / name) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    command(main)
