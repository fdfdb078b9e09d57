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
from stages.report.harmonic import harmonic_metrics, harmonic_table
from stages.report.origins import datasets_table, flat, prompts_table, threats_table
from stages.report.overview import overview_table
from stages.report.page import page
from stages.report.pictures import pictures_of
from stages.report.results_table import results_table
from stages.report.samples import sample_of
from stages.report.tables import Rows, accuracy_table, confusion_table, metrics_of, results_of, tuning_table
from stages.report.vocabulary import CLEAN, Threat, adaptive_partner, shown_threat

REPORTS = Path("reports")
GALLERY_LINES = 4  # over all data sets


@dataclass(frozen=True)
class Found:
    """What was found in one study.

    Attributes:
        dataset: Whose test images were judged.
        card: What is known of that data set.
        class_names: The classes of this study, by label.
        prompts: What made each prompt.
        curves: Tuning curves; None where the prompts were tuned in another study.
        rows: The rows of each threat.
    """

    dataset: str
    card: Card
    class_names: list[str]
    prompts: dict[str, Provenance]
    curves: pd.DataFrame | None
    rows: Rows


def main() -> str:
    """Derives every number and every figure from the rows."""
    params = load_params()
    threats = threats_of(params)
    found = {name: read_study(name, dataset, threats) for name, dataset in studies_of(params).items()}
    own = {dataset: found[dataset] for dataset in params.datasets}
    shown = shown_threat(threats, found[params.datasets[0]].prompts["advpt"]["attack"]["eps"])
    seen = [threat for threat in (shown, adaptive_partner(threats, shown.eps)) if threat and threat is not CLEAN]

    results = results_of({name: study.rows for name, study in found.items()}, threats)
    class_names = {name: study.class_names for name, study in own.items()}
    confusions = [confusion_table(study.rows[shown.name], study.class_names) for study in own.values()]
    tables = {
        "accuracy": accuracy_table(results),
        "tuning": tuning_table(pd.concat([study.curves for study in found.values() if study.curves is not None])),
        "confusion": pd.concat(confusions),
    }
    count = max(1, GALLERY_LINES // len(own))
    samples = [
        sample_of(dataset, study.rows, class_names[dataset], seen, count, pixels_of=partial(read_pixels, dataset))
        for dataset, study in own.items()
    ]
    pictures = pictures_of(results, tables, samples, class_names, threats, shown)
    overviews = overviews_of(params)
    balances = [(dataset, f"{dataset}_base", f"{dataset}_new") for dataset in params.base_to_new]

    write("metrics.json", json.dumps({**metrics_of(results), **harmonic_metrics(results, balances)}, indent=2) + "\n")
    for name, table in tables.items():
        write(f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    for name, picture in pictures.items():
        write(f"{name}.png", picture.png)
    wide = [overview_table(results, title, names, threats) for title, names in overviews.items() if len(names) > 1]
    wide += [harmonic_table(results, *balance, threats) for balance in balances]
    by_study = [results_table(results, name, threats) for name in found]
    notes = [findings(results, name, threats) for name in found]
    write("index.html", page(wide, by_study, notes, list(pictures.values()), origins_of(found, threats)))
    return f"wrote {REPORTS}, {headline(results, params.datasets[0], [CLEAN, *seen])}"


def studies_of(params: Params) -> dict[str, str]:
    """All studies in the order of the report, each with the data set whose test images it judges."""
    transfers = {
        f"{source}_to_{target}": target for source in params.transfer.sources for target in params.transfer.targets
    }
    halves = {f"{dataset}_{part}": dataset for dataset in params.base_to_new for part in ("base", "new")}
    return {dataset: dataset for dataset in params.datasets} | transfers | halves


def overviews_of(params: Params) -> dict[str, list[str]]:
    """The studies that stand side by side in one table, by its title."""
    overviews = {"All data sets": params.datasets}
    for source in params.transfer.sources:
        overviews[f"Contexts of {source} elsewhere"] = [f"{source}_to_{target}" for target in params.transfer.targets]
    return overviews


def threats_of(params: Params) -> list[Threat]:
    """Clean, oblivious, adaptive: the rows of the report in order."""
    kinds = {"oblivious": params.oblivious, "adaptive": params.adaptive}
    named = [
        Threat(name, kind, attack.model_dump()) for kind, attacks in kinds.items() for name, attack in attacks.items()
    ]
    return [CLEAN, *named]


def read_study(name: str, dataset: str, threats: list[Threat]) -> Found:
    """Reads what was found in one study.

    Raises:
        ValueError: If a file is missing or damaged, or its rows are those of other prompts or of another attack.
    """
    folder = Path(f"data/prompts/{name}")
    files = {prompt: folder / prompt / "prompts.safetensors" for prompt in ("coop", "advpt")}
    loaded = {
        prompt: load_prompts(path)
        for prompt, path in {"hand": Path(f"data/prompts/{dataset}/hand/prompts.safetensors"), **files}.items()
    }
    prompts = {prompt: file.provenance for prompt, file in loaded.items()}
    rows = {}
    for threat in threats:
        path = Path(f"data/rows/{name}/{threat.name}.parquet")
        table, made_by = read_table(path)
        require(flat(made_by["prompts"]), path, **flat(prompts))
        source = made_by["images" if threat.knowledge == "adaptive" else "features"]
        require(flat(source), path, **expected(dataset, threat))
        rows[threat.name] = table.to_pandas()
    curves = [path.with_name("tuning.csv") for path in files.values()]
    tuned = pd.concat(map(pd.read_csv, curves)) if all(path.is_file() for path in curves) else None
    card = read_card(Path(f"data/cards/{dataset}.json"))
    return Found(dataset, card, loaded["advpt"].class_names, prompts, tuned, rows)


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


def origins_of(found: dict[str, Found], threats: list[Threat]) -> list[str]:
    """What made the results, as HTML tables."""
    told = {"sha256", "origin", "licence", "splits", "notes"}
    facts = {study.dataset: study.card.model_dump(include=told) for study in found.values()}
    prompts = [prompts_table(name, study.prompts) for name, study in found.items()]
    return [datasets_table(facts), *prompts, threats_table(threats)]


def write(name: str, content: str | bytes) -> None:
    """Writes one file of the report whole."""
    with replacing(REPORTS / name) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    command(main)
