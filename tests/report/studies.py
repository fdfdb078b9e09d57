"""Tiny studies for the tests of the report: by hand, and random ones of any number of methods."""

from base64 import b64decode

import numpy as np
import pandas as pd

from stages.report.assessment import Check, assessment_table
from stages.report.classes import classes_table
from stages.report.facts import facts_table
from stages.report.figures import interpretation_pictures, pictures_of
from stages.report.gallery import sample_of
from stages.report.method_table import method_tables
from stages.report.overview import overview
from stages.report.page import page
from stages.report.tables import Accuracy, Results, confusion_table, results_of, tuning_table
from stages.report.threats import pointwise_worst, worst_threats
from stages.report.verdict import verdict
from stages.report.vocabulary import CLEAN, Method, Threat

NAN = float("nan")
HOSTILE = '"><script>alert(1)</script>&'
METHODS = [
    Method("zero_shot", "hand-written", None, "zero_shot"),
    Method("coop", "CoOp", None, "tune_clean"),
    Method("advpt", "AdvPT", "coop", "tune_bank"),
    Method("refreshed", "AdvPT refreshed", "advpt", "refresh"),
]
ZERO_SHOT, COOP, ADVPT, REFRESHED = METHODS
NAMES = [method.name for method in METHODS]
PGD = Threat("pgd_eps8", "oblivious", {"method": "feature_pgd", "eps": 8.0, "steps": 40})
KNOWING = Threat("knowing", "adaptive", {"method": "pgd", "eps": 8.0, "steps": 40})
THREATS = [CLEAN, PGD, KNOWING]
GREY = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)  # 1 x 1
TOKEN_COLUMNS = ["method", "seed", "class", "position", "measure", "among", "rank", "word", "value", "random"]
TOKEN_COLUMNS += ["start_word"]
DRIFT_COLUMNS = ["method", "seed", "class", "cosine", "towards", "gain", "common"]
CLASS_NAMES = ["<script>alert(1)</script>", "$\\frac$"]


def line_of(threat, method, accuracy, *, n=100, seeds=1, p=0.0001234, clean=None, dataset="tiny"):
    """Make one accuracy with an interval of ± 0.05; p is that of both comparisons.

    Without `clean`, clean accuracy on the same images is the accuracy itself.
    """
    tested = (NAN if method == ZERO_SHOT else p, p if method in (ADVPT, REFRESHED) else NAN)
    place = (dataset, threat.name, threat.knowledge, method.name)
    spread = (accuracy - 0.05, accuracy + 0.05, NAN if seeds == 1 else 0.01)
    return Accuracy(*place, accuracy, *spread, n, seeds, accuracy if clean is None else clean, *tested)


def study_of(*lines, title="tiny", methods=METHODS, threats=THREATS):
    """Make the results of one study from its lines."""
    return Results(title, methods, threats, {(line.threat, line.method): line for line in lines})


def many_methods(count):
    """Make `count` methods, each with the one before as its baseline."""
    return [
        Method(f"m{at}", f"Method {at}", f"m{at - 1}" if at else None, "tune_bank" if at else "zero_shot")
        for at in range(count)
    ]


ATTACKS = [
    CLEAN,
    *(Threat(f"pgd_eps{eps}", "oblivious", {"method": "feature_pgd", "eps": eps, "steps": 20}) for eps in (4, 8, 16)),
    Threat("transfer_eps8", "oblivious", {"method": "transfer", "eps": 8, "steps": 20}),
    *(Threat(f"adaptive_eps{eps}", "adaptive", {"method": "suite", "eps": eps, "steps": 32}) for eps in (4, 8)),
]
MANY_THREATS = [*ATTACKS, *worst_threats(ATTACKS)]


def random_predictions(methods, threats=MANY_THREATS, *, dataset="tiny", classes=10, images=200):
    """Make random predictions: the first method has one tuning seed, the others three; adaptive threats attack half."""
    draw = np.random.default_rng(0)
    labels = np.arange(images) % classes
    predictions = {}
    for threat in threats:
        if threat.is_worst:
            predictions[threat.name] = pointwise_worst([predictions[one] for one in threat.attack["of"]], threat.name)
            continue
        parts = []
        for at, method in enumerate(methods):
            level = 0.9 - 0.01 * at if threat is CLEAN else (0.55 + 0.01 * at) / (1 + threat.eps / 8)
            for seed in range(1 if at == 0 else 3):
                wrong, others = draw.random(images) > level, labels + draw.integers(1, classes, images)
                parts.append(
                    pd.DataFrame(
                        {
                            "id": [f"{index:04}" for index in range(images)],
                            "method": method.name,
                            "seed": seed,
                            "label": labels,
                            "prediction": np.where(wrong, others % classes, labels),
                            "margin": draw.normal(size=images),
                        }
                    ).iloc[:: 2 if threat.knowledge == "adaptive" else 1]
                )
        table = pd.concat(parts, ignore_index=True)
        correct = table["label"] == table["prediction"]
        predictions[threat.name] = table.assign(dataset=dataset, threat=threat.name, correct=correct)
    return predictions


def figures_of(count, *, datasets=("tiny",), class_names=None):
    """Draw all figures of a random report of `count` methods; `class_names` are those of every data set."""
    methods, shown = many_methods(count), many_methods(count)[-1]
    names = class_names or [f"class {at}" for at in range(10)]
    headline = MANY_THREATS[2]
    predictions = {one: random_predictions(methods, dataset=one, classes=len(names)) for one in datasets}
    studies = [results_of(one, rows, methods, MANY_THREATS) for one, rows in predictions.items()]
    lines = [
        (one, method.name, seed, epoch, 2 / epoch + at / 10, 1 - 0.5 / epoch - at / 100)
        for one in datasets
        for at, method in enumerate(methods[1:])
        for seed in (0, 1)
        for epoch in (1, 2, 3)
    ]
    curves = pd.DataFrame(lines, columns=["dataset", "method", "seed", "epoch", "loss", "accuracy"])
    tables = {
        "tuning": tuning_table(curves),
        "confusion": pd.concat([confusion_table(rows[headline.name], names) for rows in predictions.values()]),
        "classes": pd.concat([classes_table(rows, names, methods, [CLEAN, headline]) for rows in predictions.values()]),
    }
    samples = [
        sample_of(one, rows, names, [headline, MANY_THREATS[6]], [methods[0], shown], count=3, pixels_of=grey_pixels)
        for one, rows in predictions.items()
    ]
    by_dataset = dict.fromkeys(datasets, names)
    pictures = pictures_of(studies, tables, samples, dict.fromkeys(datasets, measured()), by_dataset, headline, shown)
    interpretation = {one: interpretation_of(methods, names) for one in datasets}
    return studies, tables, pictures | interpretation_pictures(interpretation, by_dataset, methods)


def page_of(count, *, text="", threats=MANY_THREATS):
    """Make a random report of `count` methods and two data sets; its texts end in `text`, its figure is grey."""
    methods = [method._replace(label=method.label + text) for method in many_methods(count)]
    studies, tables = [], []
    names = [f"class {at}{text}" for at in range(10)]
    for dataset in (f"tiny{text}", f"other{text}"):
        rows = random_predictions(methods, dataset=dataset)
        studies.append(results_of(dataset, rows, methods, threats))
        tables.append(classes_table(rows, names, methods, [CLEAN]))
    return page(
        [f"A caution{text}"],
        verdict(studies, threats[2] if len(threats) > 2 else CLEAN, pd.concat(tables)),
        [method_tables(study, table) for study, table in zip(studies, tables, strict=True)],
        [overview(f"All data sets{text}", studies)],
        {"accuracy": GREY},
        {"accuracy": f"A note.{text}"},
        assessment_table({f"tiny{text}": [Check(f"something holds{text}", "pass", f"all of it{text}")]}),
        [facts_table(f"Data sets{text}", {f"tiny{text}": {f"origin{text}": f"a book{text}"}})],
        shown=methods[-1].label,
    )


def grey_pixels(threat, ids):
    """Grey images, brighter by the threat's eps."""
    return np.stack([np.full((4, 4, 3), 100 + threat.eps, np.uint8) for _ in ids])


SIGNS = (
    "changed_at_eps_0",
    "outside",
    "logits_differ",
    "reload_differs",
    "batch_matters",
    "zero_gradients",
    "zero_gate_gradients",
    "loss_stays",
)


def measured(images=400):
    """The measurements of an honest model: 80 % clean, 30 % at eps 4; attacks fell the last images first."""
    lines = [(sign, "pgd", 4, 10, 0.0) for sign in SIGNS]
    lines += [("correct", "none", 0, 0, 0.8), ("correct", "noise", 4, 0, 0.79), ("correct", "noise", 64, 0, 0.3)]
    by_eps = {(1, 10): 0.6, (2, 10): 0.5, (4, 10): 0.35, (64, 10): 0.0}
    by_steps = {(4, 5): 0.4, (4, 20): 0.32, (4, 40): 0.3}
    lines += [("correct", "pgd", *at, value) for at, value in {**by_eps, **by_steps}.items()]
    lines += [("correct", "autoattack", 4, 100, 0.3), ("correct", "square", 4, 500, 0.3)]
    table = pd.DataFrame(lines, columns=["measure", "attack", "eps", "steps", "value"])
    table = table.merge(pd.DataFrame({"image": range(images)}), how="cross")
    return table.assign(id=table["image"].astype(str), outcome=table["image"] < table["value"] * images)


def interpretation_of(methods, class_names, *, vectors=4):
    """The tables of `interpret`: all methods but the first have a context of their own for each class.

    Cosines between classes are 1 on the diagonal and smaller the further two labels are apart.
    """
    tuned, labels = methods[1:], range(len(class_names))
    tokens = [
        (method.name, seed, name, at, measure, 9, rank, "字 & <b>", 0.4 + at / 10, 0.5, f"$\\w{at}$")
        for method in tuned
        for seed in (0, 1)
        for name in class_names[:10]
        for at in range(1, vectors + 1)
        for measure in ("euclidean", "cosine")
        for rank in (1, 2)
    ]
    drift = [(one.name, seed, name, 0.9, name, 0.1, 0.5) for one in tuned for seed in (0, 1) for name in class_names]
    cosines = [
        (method.name, label, class_names[label], other, 1 - abs(label - other) / len(labels))
        for method in methods
        for label in labels[:40]
        for other in labels[:40]
    ]
    draw = np.random.default_rng(0)
    kinds = {"clean": 6, "adversarial": 6} | {method.name: 1 for method in methods}
    pca = [
        (kind, label, *draw.normal(size=2) / 4, 1.0) for kind, n in kinds.items() for label in labels for _ in range(n)
    ]
    return {
        "nearest_tokens": pd.DataFrame(tokens, columns=TOKEN_COLUMNS),
        "text_feature_drift": pd.DataFrame(drift, columns=DRIFT_COLUMNS),
        "cosines": pd.DataFrame(cosines, columns=["method", "label", "class", "other_label", "cosine"]),
        "pca": pd.DataFrame(pca, columns=["kind", "label", "x", "y", "distance"]),
    }
