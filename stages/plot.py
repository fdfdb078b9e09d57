"""plot: predictions, tuning curves, images -> reports/: metrics, tables, figures, the page. No tensor library here.

Everything is read by the names in params.yaml: files of removed methods and threats may still be in data/.
"""

import json
from functools import partial

import pandas as pd

from stages.evaluation.study import study_title
from stages.report.assessment import assessment_table, checks_of, checks_of_results
from stages.report.classes import classes_table, worst_class
from stages.report.facts import Facts, facts_table
from stages.report.figures import interpretation_pictures, interpretation_tables, pictures_of
from stages.report.gallery import Sample, sample_of
from stages.report.inputs import (
    Study,
    assessed_method,
    read_assessment,
    read_interpretation,
    read_pixels,
    read_study,
    read_surrogates,
    studies_of,
)
from stages.report.page import page
from stages.report.result_tables import Table, harmonic_metrics, harmonic_table, overview_table, results_table
from stages.report.tables import (
    Results,
    accuracy_table,
    confusion_table,
    metrics_of,
    results_of,
    summary_of,
    tuning_table,
)
from stages.report.verdict import caution, closing_line, unequal_sizes, verdict
from stages.report.vocabulary import CLEAN, Method, Threat, adaptive_partner, headline_threat, reference_of
from stages.runtime.cli import command
from stages.runtime.params import Params, load_params
from stages.storage.files import replacing, require_writable
from stages.storage.layout import REPORTS

GALLERY_LINES = 4  # over all data sets


def main() -> str:
    """Compute every number and draw every figure of the report."""
    params = load_params()
    require_writable(REPORTS / "index.html")
    studies = [read_study(dataset, name, params) for dataset, name in studies_of(params)]
    results = {one.title: results_of(one.title, one.predictions, one.methods, one.threats) for one in studies}
    own = [study for study in studies if study.name == "all"]
    own_results = [results[study.title] for study in own]
    threats, methods, shown = own[0].threats, own[0].methods, assessed_method(params)
    headline = headline_threat(threats, own[0].bank_eps)
    halves = {name: (results[f"{name}_base"], results[f"{name}_new"]) for name in params.base_to_new}

    measured = {study.dataset: read_assessment(study.dataset) for study in own}
    interpretation = {study.dataset: read_interpretation(study.dataset) for study in own}
    checks = {study.dataset: checks_on(study, measured[study.dataset], shown) for study in own}
    tables = {
        "accuracy": accuracy_table(list(results.values())),
        "tuning": tuning_table(pd.concat([study.curves for study in studies])),
        "assessment": assessment_table(checks),
        **class_tables(own, headline),
        **interpretation_tables(interpretation),
    }
    class_names = {study.dataset: study.class_names for study in own}
    gallery_threats = [one for one in (headline, adaptive_partner(threats, headline.eps)) if one and one is not CLEAN]
    samples = samples_of(own, gallery_threats, shown)
    pictures = pictures_of(own_results, tables, samples, measured, class_names, headline, shown)
    pictures |= interpretation_pictures(interpretation, class_names, methods)

    metrics = metrics_of(list(results.values())) | harmonic_metrics(halves)
    write("metrics.json", json.dumps(metrics, indent=2) + "\n")
    write("summary.json", json.dumps(summary_of(own_results), indent=2) + "\n")
    for name, table in tables.items():
        write(f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    for name, picture in pictures.items():
        write(f"{name}.png", picture.png)
    sentences = verdict(own_results, headline, tables["classes"])
    if cautions := caution(tables["assessment"]["status"].tolist(), validation=params.data.validation):
        sentences["Caution"] = cautions
    wide = [overview_table(title, several) for title, several in overviews_of(params, results).items()]
    wide += [harmonic_table(dataset, *pair) for dataset, pair in halves.items()]
    by_study = [study_table(study, results[study.title]) for study in studies]
    html = page(
        sentences, [*wide, *by_study], pictures, tables["assessment"], origins_of(studies), assessed=shown.label
    )
    write("index.html", html)
    return f"wrote {REPORTS}, {closing_line(own_results[0], shown, [CLEAN, *gallery_threats])}"


def class_tables(own: list[Study], headline: Threat) -> dict[str, pd.DataFrame]:
    """Return the tables by class: under the headline threat, and beside it on clean images."""
    compared = [CLEAN] if headline is CLEAN else [CLEAN, headline]
    confusion = [confusion_table(study.predictions[headline.name], study.class_names) for study in own]
    classes = [classes_table(study.predictions, study.class_names, study.methods, compared) for study in own]
    return {"confusion": pd.concat(confusion), "classes": pd.concat(classes, ignore_index=True)}


def checks_on(study: Study, measured: pd.DataFrame, method: Method) -> list:
    """Return all checks of the attacks on one data set."""
    surrogates = read_surrogates(study.dataset, study.threats)
    return [*checks_of(measured), *checks_of_results(study.predictions, study.threats, surrogates, method=method)]


def samples_of(own: list[Study], threats: list[Threat], method: Method) -> list[Sample]:
    """Return the images of the gallery."""
    methods = list(dict.fromkeys([reference_of(own[0].methods), method]))
    count = max(1, GALLERY_LINES // len(own))
    return [
        sample_of(
            study.dataset,
            study.predictions,
            study.class_names,
            threats,
            methods,
            count=count,
            pixels_of=partial(read_pixels, study.dataset, method),
        )
        for study in own
    ]


def overviews_of(params: Params, results: dict[str, Results]) -> dict[str, list[Results]]:
    """Return the studies that stand side by side in one table, by its title; where there are several."""
    overviews = {"All data sets": [results[dataset] for dataset in params.datasets]}
    for source in params.transfer.sources:
        moved = [results[study_title(target, source)] for target in params.transfer.targets]
        overviews[f"Contexts of {source} on other data sets"] = moved
    return {title: several for title, several in overviews.items() if len(several) > 1}


def study_table(study: Study, results: Results) -> Table:
    """Return the table of one study with its notes."""
    classes = classes_table(study.predictions, study.class_names, study.methods, [CLEAN])
    prices = [f"{method.label}, clean images, by class: {worst_class(classes, method)}." for method in results.compared]
    return results_table(results, [*unequal_sizes(results), *prices])


def origins_of(studies: list[Study]) -> list[Facts]:
    """Return what made the results."""
    facts = {"sha256", "origin", "licence", "splits", "notes"}
    datasets = {study.dataset: study.card.model_dump(include=facts) for study in studies}
    labels = {method.name: method.label for study in studies for method in study.methods}
    methods = [
        facts_table(f"{study.title}: methods", {labels[name]: made for name, made in study.provenances.items()})
        for study in studies
    ]
    attacks = {threat.name: threat.attack for threat in studies[0].threats if threat.attack}
    threats = [facts_table("Threats", attacks)] if attacks else []
    return [facts_table("Data sets", datasets), *methods, *threats]


def write(name: str, content: str | bytes) -> None:
    """Write one file of the report whole."""
    with replacing(REPORTS / name) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    command(main)
