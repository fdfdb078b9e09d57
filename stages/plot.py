"""plot: predictions, tuning curves, images -> reports/: metrics, tables, figures, the page. No tensor library here.

Everything is read by the names in params.yaml: files of removed methods and threats may still be in data/.
"""

import json
from functools import partial

import pandas as pd

from stages.evaluation.study import study_title
from stages.report.assessment import (
    Check,
    assessment_table,
    checks_of,
    checks_of_others,
    checks_of_results,
    checks_of_suite,
)
from stages.report.classes import classes_table
from stages.report.comparison import is_noise
from stages.report.facts import Facts, facts_table
from stages.report.figures import (
    interpretation_notes,
    interpretation_pictures,
    interpretation_tables,
    pictures_of,
)
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
from stages.report.method_table import method_tables
from stages.report.overview import Overview, harmonic, harmonic_metrics, overview
from stages.report.page import page
from stages.report.prompt_figure import PixelPrompt, prompt_figure
from stages.report.style import empty_figure
from stages.report.tables import (
    Results,
    accuracy_table,
    confusion_table,
    metrics_of,
    results_of,
    summary_of,
    tuning_table,
)
from stages.report.verdict import caution, verdict
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
    compared = [CLEAN] if headline is CLEAN else [CLEAN, headline]
    gallery_threats = [one for one in (headline, adaptive_partner(threats, headline.eps)) if one and one is not CLEAN]
    halves = {name: harmonic(name, results[f"{name}_base"], results[f"{name}_new"]) for name in params.base_to_new}

    measured = {study.dataset: read_assessment(study.dataset) for study in own}
    interpretation = {study.dataset: read_interpretation(study.dataset) for study in own}
    tables = {
        "accuracy": accuracy_table(list(results.values())),
        "tuning": tuning_table(pd.concat([study.curves for study in studies])),
        "assessment": assessment_table({one.dataset: checks_on(one, measured[one.dataset], shown) for one in own}),
        "confusion": pd.concat([confusion_table(one.predictions[headline.name], one.class_names) for one in own]),
        "classes": pd.concat([classes_of(one, compared) for one in own], ignore_index=True),
        **interpretation_tables(interpretation),
    }
    class_names = {study.dataset: study.class_names for study in own}
    samples = [sample_on(study, gallery_threats, shown, max(1, GALLERY_LINES // len(own))) for study in own]
    pictures = pictures_of(own_results, tables, samples, measured, class_names, headline, shown)
    pictures |= interpretation_pictures(interpretation, class_names, methods)
    prompts = [prompt for study, sample in zip(own, samples, strict=True) for prompt in prompts_of(study, sample)]
    pictures["pixel_prompts"] = prompt_figure(prompts) if prompts else empty_figure("no method has a pixel prompt")

    write("metrics.json", json.dumps(metrics_of(list(results.values())) | harmonic_metrics(halves), indent=2) + "\n")
    write("summary.json", json.dumps(summary_of(own_results), indent=2) + "\n")
    for name, table in tables.items():
        write(f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    for name, png in pictures.items():
        write(f"{name}.png", png)
    html = page(
        caution(tables["assessment"]["status"].tolist(), validation=params.data.validation),
        verdict(own_results, headline, tables["classes"]),
        [method_tables(results[study.title], classes_of(study, [CLEAN])) for study in studies],
        [*overviews_of(params, results), *halves.values()],
        pictures,
        {"confusion": f"{headline.title}: {headline.recipe}.", **interpretation_notes(interpretation, methods)},
        tables["assessment"],
        origins_of(studies),
        shown=shown.label,
    )
    write("index.html", html)
    return f"wrote {REPORTS}/index.html, {closing_line(own_results[0], shown, [CLEAN, *gallery_threats])}"


def classes_of(study: Study, threats: list[Threat]) -> pd.DataFrame:
    """Return the accuracy by class in one study."""
    return classes_table(study.predictions, study.class_names, study.methods, threats)


def checks_on(study: Study, measured: pd.DataFrame, method: Method) -> list[Check]:
    """Return all checks of the attacks on one data set."""
    surrogates = read_surrogates(study.dataset, study.threats)
    about = (study.predictions, study.threats)
    return [
        *checks_of(measured),
        *checks_of_suite(measured, *about, method=method),
        *checks_of_results(*about, surrogates, method=method),
        *checks_of_others(*about, [other for other in study.methods if other != method]),
    ]


def sample_on(study: Study, threats: list[Threat], method: Method, count: int) -> Sample:
    """Return the images of the gallery on one data set."""
    methods = list(dict.fromkeys([reference_of(study.methods), method]))
    pixels_of = partial(read_pixels, study.dataset, method)
    about = (study.dataset, study.predictions, study.class_names)
    return sample_of(*about, threats, methods, count=count, pixels_of=pixels_of)


def prompts_of(study: Study, sample: Sample) -> list[PixelPrompt]:
    """Return the pixel prompts of one study, each beside the first image of the gallery."""
    labels = {method.name: method.label for method in study.methods}
    return [
        PixelPrompt(f"{study.title}, {labels[name]}", *found, sample.pixels[0])
        for name, found in study.pixel_prompts.items()
    ]


def overviews_of(params: Params, results: dict[str, Results]) -> list[Overview]:
    """Return the studies that stand side by side in one table, where there are several."""
    several = {"All data sets": params.datasets}
    for source in params.transfer.sources:
        titles = [study_title(target, source) for target in params.transfer.targets]
        several[f"Contexts of {source} on other data sets"] = titles
    return [overview(name, [results[title] for title in titles]) for name, titles in several.items() if len(titles) > 1]


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


def closing_line(study: Results, method: Method, threats: list[Threat]) -> str:
    """Return the accuracies of the reference and another method under some threats, on one line."""
    pairs = [(study.line(threat, study.reference), study.line(threat, method)) for threat in threats]
    changes = [
        f"{one.threat} {one.accuracy:.3f} -> {other.accuracy:.3f} (n = {other.n}{', noise' * is_noise(study, other)})"
        for one, other in pairs
    ]
    compared = f"{study.title}, {study.reference.name} -> {method.name}"
    return f"{compared}: {', '.join(changes)}; under attack: right both clean and attacked"


def write(name: str, content: str | bytes) -> None:
    """Write one file of the report whole."""
    with replacing(REPORTS / name) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    command(main)
