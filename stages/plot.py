"""plot: rows, tuning curves, images -> reports/: metrics, tables, figures, the page. No tensor library here.

Everything is read by the names in params.yaml: files of threats that are no more may still lie in data/.
"""

import json
from functools import partial
from pathlib import Path

import pandas as pd

from stages.report.assessment import Check, assessment_list, assessment_table, checks_of, checks_of_results
from stages.report.classes import classes_table, prices
from stages.report.costs import Cost, Sizes, costs_list, costs_of, costs_table
from stages.report.findings import findings, headline
from stages.report.gallery import Sample
from stages.report.harmonic import harmonic_metrics, harmonic_table
from stages.report.inputs import Found, count_training_images, read_assessment, read_pixels, read_study, read_words
from stages.report.interpretation_pictures import words_pictures, words_tables
from stages.report.origins import datasets_table, prompts_table, threats_table
from stages.report.overview import overview_table
from stages.report.page import page
from stages.report.pictures import pictures_of
from stages.report.results_table import results_table
from stages.report.samples import sample_of
from stages.report.tables import (
    Results,
    accuracy_table,
    confusion_table,
    metrics_of,
    results_of,
    summary_of,
    tuning_table,
)
from stages.report.threats import threats_of
from stages.report.verdict import caution, verdict
from stages.report.vocabulary import CLEAN, Threat, adaptive_partner, shown_threat
from stages.runtime.cli import command
from stages.runtime.params import Params, load_params
from stages.storage.files import replacing, require_writable
from stages.storage.notes import read_note

REPORTS = Path("reports")
GALLERY_LINES = 4  # over all data sets


def main() -> str:
    """Derives every number and every figure from the rows."""
    params = load_params()
    require_writable(REPORTS / "index.html")
    threats = {
        name: threats_of(params.oblivious, params.adaptive, params.defences if name in params.datasets else {})
        for name in studies_of(params)
    }
    found = {name: read_study(name, dataset, threats[name], params) for name, dataset in studies_of(params).items()}
    own = {dataset: found[dataset] for dataset in params.datasets}
    of_own = threats[params.datasets[0]]
    shown = shown_threat(of_own, found[params.datasets[0]].prompts["advpt"]["attack"]["eps"])
    seen = [threat for threat in (shown, adaptive_partner(of_own, shown.eps)) if threat and threat is not CLEAN]

    results = {}
    for name, study in found.items():
        results |= results_of({name: study.rows}, threats[name])
    measured = {name: read_assessment(name, study, params.assess.model_dump()) for name, study in own.items()}
    said_by_vectors = {name: read_words(name, study) for name, study in own.items()}
    checks = {name: checks_on(study, measured[name], of_own, params) for name, study in own.items()}
    tables = {
        "accuracy": accuracy_table(results),
        "tuning": tuning_table(pd.concat([study.curves for study in found.values() if study.curves is not None])),
        "assessment": assessment_table(checks),
        **tables_of_classes(own, shown),
        **words_tables(said_by_vectors),
        "costs": costs_table([cost for name, study in own.items() for cost in costs(study, of_own, measured[name])]),
    }
    class_names = {name: study.class_names for name, study in own.items()}
    pictures = pictures_of(results, tables, samples_of(own, seen), measured, class_names, of_own, shown)
    pictures |= words_pictures(said_by_vectors, class_names)
    balances = [(dataset, f"{dataset}_base", f"{dataset}_new") for dataset in params.base_to_new]

    write("metrics.json", json.dumps({**metrics_of(results), **harmonic_metrics(results, balances)}, indent=2) + "\n")
    write("summary.json", json.dumps(summary_of(results, params.datasets, of_own), indent=2) + "\n")
    for name, table in tables.items():
        write(f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    for name, picture in pictures.items():
        write(f"{name}.png", picture.png)
    refreshed_eps = max(found[params.datasets[0]].prompts["advpt_refreshed"]["refresh"]["eps"])
    said = [
        *verdict(results, params.datasets, of_own, shown, refreshed_eps=refreshed_eps, classes=tables["classes"]),
        *caution(tables["assessment"]["status"].tolist(), validation=params.data.validation),
    ]
    wide = [*overviews(results, overviews_of(params), threats), *harmonics(results, balances, threats)]
    by_study = [results_table(results, name, threats[name]) for name in found]
    notes = [
        [*findings(results, name, threats[name]), *prices(classes_table(study.rows, study.class_names, [CLEAN]))]
        for name, study in found.items()
    ]
    trust, cost = assessment_list(tables["assessment"]), costs_list(tables["costs"])
    write("index.html", page(said, wide, by_study, notes, pictures, trust, cost, origins_of(found, of_own)))
    return f"wrote {REPORTS}, {headline(results, params.datasets[0], [CLEAN, *seen])}{left_over(threats)}"


def left_over(threats: dict[str, list[Threat]]) -> str:
    """Say which rows no stage makes any more, for dvc.lock lists all files of data/rows; empty if there are none.

    Args:
        threats: The threats of each study.
    """
    made = {Path(f"data/rows/{study}/{threat.name}.parquet") for study, names in threats.items() for threat in names}
    if not (found := sorted(set(Path("data/rows").glob("*/*.parquet")) - made)):
        return ""
    return (
        f"; no stage makes {', '.join(map(str, found))} any more: run "
        "`dvc checkout --allow-missing`, which removes such files, then `dvc repro`, else dvc.lock lists them"
    )


def tables_of_classes(own: dict[str, Found], shown: Threat) -> dict[str, pd.DataFrame]:
    """What is told class by class: under the shown threat, and beside it on clean images."""
    compared = [CLEAN] if shown is CLEAN else [CLEAN, shown]
    confusion = [confusion_table(study.rows[shown.name], study.class_names) for study in own.values()]
    classes = [classes_table(study.rows, study.class_names, compared) for study in own.values()]
    return {"confusion": pd.concat(confusion), "classes": pd.concat(classes)}


def samples_of(own: dict[str, Found], seen: list[Threat]) -> list[Sample]:
    """The images of the gallery."""
    count = max(1, GALLERY_LINES // len(own))
    return [
        sample_of(dataset, study.rows, study.class_names, seen, count, pixels_of=partial(read_pixels, dataset))
        for dataset, study in own.items()
    ]


def overviews(results: Results, names: dict[str, list[str]], threats: dict[str, list[Threat]]) -> list[str]:
    """The tables over several studies, HTML."""
    several = {title: studies for title, studies in names.items() if len(studies) > 1}
    return [overview_table(results, title, studies, threats[studies[0]]) for title, studies in several.items()]


def harmonics(results: Results, balances: list[tuple[str, str, str]], threats: dict[str, list[Threat]]) -> list[str]:
    """The tables of base and new classes, HTML."""
    return [harmonic_table(results, *balance, threats[balance[1]]) for balance in balances]


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


def checks_on(study: Found, measured: pd.DataFrame, threats: list[Threat], params: Params) -> list[Check]:
    """All that is asked of the attacks on one data set."""
    surrogates = surrogates_of(params, study.dataset)
    of_results = checks_of_results(study.rows, threats, surrogates, prompt=params.assess.prompt)
    return [*checks_of(measured), *of_results]


def surrogates_of(params: Params, dataset: str) -> list[dict]:
    """What the surrogate of each transfer attack says of itself."""
    names = [name for name, attack in params.oblivious.items() if attack.method == "transfer"]
    paths = {name: Path(f"data/test/{dataset}/{name}/images/surrogate.json") for name in names}
    return [{"threat": name, **read_note(path)} for name, path in paths.items()]


def costs(study: Found, threats: list[Threat], measured: pd.DataFrame) -> list[Cost]:
    """What the stages cost on the own prompts of a data set."""
    attacks = [
        threat for threat in threats if threat.knowledge == "adaptive" and threat.attack["method"] != "pointwise_worst"
    ]
    attacked = {threat.name: len(study.rows[threat.name]) for threat in attacks}
    sizes = Sizes(
        count_training_images(study.dataset), study.rows[CLEAN.name]["id"].nunique(), len(study.class_names), attacked
    )
    tuned, refreshed = study.prompts["advpt"], study.prompts["advpt_refreshed"]
    return costs_of(study.dataset, sizes, tuned["attack"], tuned["tune"], refreshed, threats, measured)


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
