"""plot: rows, tuning curves, images -> reports/: metrics, tables, figures, the page. No tensor library here.

Everything is read by the names in params.yaml: files of threats that are no more may still lie in data/.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.banks.files import replacing, require_writable
from stages.banks.images import images_provenance, read_images
from stages.banks.notes import read_note
from stages.banks.prompts import load_prompts
from stages.banks.provenance import Provenance, require
from stages.banks.table import read_table
from stages.carding import read_card
from stages.command import command
from stages.datasets.card import Card
from stages.params import Params, load_params
from stages.report.assessment import assessment_list, assessment_table, checks_of, checks_of_results
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
from stages.report.worst import pointwise_worst, worst_threats

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
    require_writable(REPORTS / "index.html")
    threats = {name: threats_of(params, defended=name in params.datasets) for name in studies_of(params)}
    found = {name: read_study(name, dataset, threats[name]) for name, dataset in studies_of(params).items()}
    own = {dataset: found[dataset] for dataset in params.datasets}
    of_own = threats[params.datasets[0]]
    shown = shown_threat(of_own, found[params.datasets[0]].prompts["advpt"]["attack"]["eps"])
    seen = [threat for threat in (shown, adaptive_partner(of_own, shown.eps)) if threat and threat is not CLEAN]

    results = {}
    for name, study in found.items():
        results |= results_of({name: study.rows}, threats[name])
    class_names = {name: study.class_names for name, study in own.items()}
    measured = {name: read_assessment(name, study, params) for name, study in own.items()}
    checks = {
        name: [*checks_of(table), *checks_of_results(results, name, of_own, surrogates_of(params, name))]
        for name, table in measured.items()
    }
    tables = {
        "accuracy": accuracy_table(results),
        "tuning": tuning_table(pd.concat([study.curves for study in found.values() if study.curves is not None])),
        "confusion": pd.concat([confusion_table(study.rows[shown.name], study.class_names) for study in own.values()]),
        "assessment": assessment_table(checks),
    }
    count = max(1, GALLERY_LINES // len(own))
    samples = [
        sample_of(dataset, study.rows, class_names[dataset], seen, count, pixels_of=partial(read_pixels, dataset))
        for dataset, study in own.items()
    ]
    pictures = pictures_of(results, tables, samples, measured, class_names, of_own, shown)
    balances = [(dataset, f"{dataset}_base", f"{dataset}_new") for dataset in params.base_to_new]

    write("metrics.json", json.dumps({**metrics_of(results), **harmonic_metrics(results, balances)}, indent=2) + "\n")
    for name, table in tables.items():
        write(f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    for name, picture in pictures.items():
        write(f"{name}.png", picture.png)
    wide = [
        overview_table(results, title, names, threats[names[0]])
        for title, names in overviews_of(params).items()
        if len(names) > 1
    ]
    wide += [harmonic_table(results, *balance, threats[balance[1]]) for balance in balances]
    by_study = [results_table(results, name, threats[name]) for name in found]
    notes = [findings(results, name, threats[name]) for name in found]
    trust = assessment_list(tables["assessment"])
    write("index.html", page(wide, by_study, notes, list(pictures.values()), trust, origins_of(found, of_own)))
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


def threats_of(params: Params, *, defended: bool) -> list[Threat]:
    """The rows of the report in order: clean, oblivious, adaptive, the worst of these; each through the defences, too.

    Only a data set's own prompts are judged behind a defence (`defended`).
    """
    name_of = {settings.model_dump_json(): name for name, settings in params.defences.items()}
    behind = ["none", *(params.defences if defended else ())]
    threats = [Threat(through(CLEAN.name, defence), "clean", {}, defence) for defence in behind]
    for name, attack in params.oblivious.items():
        threats += [Threat(through(name, defence), "oblivious", attack.model_dump(), defence) for defence in behind]
    for name, attack in params.adaptive.items():
        defence = name_of[attack.defence.model_dump_json()] if attack.defence else "none"
        if defence in behind:
            threats.append(Threat(name, "adaptive", attack.model_dump(), defence))
    return [CLEAN, *threats[1:], *worst_threats(threats)]


def through(threat: str, defence: str) -> str:
    """What a threat is called behind a defence."""
    return threat if defence == "none" else f"{threat}+{defence}"


def surrogates_of(params: Params, dataset: str) -> list[dict]:
    """What the surrogate of each transfer attack says of itself."""
    names = [name for name, attack in params.oblivious.items() if attack.method == "transfer"]
    paths = {name: Path(f"data/test/{dataset}/{name}/images/surrogate.json") for name in names}
    return [{"threat": name, **read_note(path)} for name, path in paths.items()]


def read_assessment(dataset: str, study: Found, params: Params) -> pd.DataFrame:
    """What `assess` measured on a data set.

    Raises:
        ValueError: If it is missing or damaged, or was measured on other prompts or by other parameters.
    """
    path = Path(f"data/assessment/{dataset}.parquet")
    table, made_by = read_table(path)
    require(made_by, path, assess=params.assess.model_dump(), prompts=study.prompts["advpt"])
    return table.to_pandas()


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
    worst = [threat for threat in threats if threat.name.startswith("worst_")]
    for threat in (one for one in threats if one not in worst):
        path = Path(f"data/rows/{name}/{threat.name}.parquet")
        table, made_by = read_table(path)
        require(flat(made_by["prompts"]), path, **flat(prompts))
        source = made_by["images" if threat.knowledge == "adaptive" else "features"]
        require(flat(source), path, **expected(dataset, threat))
        rows[threat.name] = table.to_pandas().assign(defence=threat.defence)
    rows |= {one.name: pointwise_worst([rows[part] for part in one.attack["of"]], one.name) for one in worst}
    tuned = read_curves({prompt: path.with_name("tuning.parquet") for prompt, path in files.items()}, prompts)
    card = read_card(dataset)
    return Found(dataset, card, loaded["advpt"].class_names, prompts, tuned, rows)


def read_curves(paths: dict[str, Path], prompts: dict[str, Provenance]) -> pd.DataFrame | None:
    """The tuning curves of the prompts of one study; None where they were tuned in another one.

    Raises:
        ValueError: If a file is damaged, or is the curve of another prompt.
    """
    if not all(path.is_file() for path in paths.values()):
        return None
    curves = []
    for prompt, path in paths.items():
        table, made_by = read_table(path)
        require(flat(made_by), path, **flat(prompts[prompt]))
        curves.append(table.to_pandas())
    return pd.concat(curves)


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
