"""Write the tables of README.md and docs/: `python -m reports.studies.readme`.

Each table stands between `<!-- NAME -->` and `<!-- /NAME -->` and is made from files under reports/; a test compares
the committed documents with the committed files.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import StringIO
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pandas as pd

from reports.studies.benchmarks.measuring import shown
from stages.report.comparison import Comparison
from stages.report.inputs import methods_of
from stages.report.tables import Accuracy, Results, results_from
from stages.report.threats import threats_of
from stages.report.wording import NOISE, PRICE, clean_on_the_same, footnote, marked, percent, price, size, spread
from stages.runtime.params import load_params

Read = Callable[[str], str]  # path below the top folder -> content

DATASET, REFERENCE = "fashion", "zero_shot"
LABELS = {"zero_shot": "hand-written", "coop": "CoOp", "advpt": "AdvPT", "advpt_refreshed": "AdvPT refreshed"}
COLUMNS = {  # of the table in README.md
    "clean": "clean",
    "pgd_eps4": "eps 4, oblivious",
    "adaptive_eps4": "eps 4, adaptive",
    "pgd_eps8": "eps 8, oblivious",
    "adaptive_eps8": "eps 8, adaptive",
}
# rows of the table `refreshed`: file under reports/experiments, threat
REFRESHED = (
    ("seeds", "clean"),
    ("eps", "autoattack_eps1"),
    ("eps", "autoattack_eps2"),
    ("seeds", "autoattack_eps4"),
    ("eps", "autoattack_eps8"),
    ("seeds", "adaptive_eps4"),
    ("seeds", "transfer_eps8"),
    *product(("second", "vit"), ("clean", "autoattack_eps4", "adaptive_eps4", "adaptive_eps8")),
)
ELSEWHERE = {"second": "**second cut**", "vit": "**tiny ViT**"}  # experiments on other data or another model
VARIED = "tiny-clip"  # the model of most variants of the pixel prompt
# columns of the tables `adversarial` and `photo-tokens`
ADVERSARIAL = ("clean", "pgd_eps4", "pgd_eps8", "autoattack_eps4", "autoattack_eps8")
SEEDS = {
    "pixel_seeds": "tiny-clip",
    "pixel_half_clean": "tiny-clip, half clean",
    "pixel_seeds_second": "tiny-clip, second cut",
    "pixel_seeds_vit": "tiny-vit",
}
KINDS = ("clean", "pgd_eps4", "pgd_eps8", "suite_eps4")
PHOTO_TOKENS = {"photo_tokens_quarter": "a quarter clean", "photo_tokens": "half clean"}
ON_PHOTOS = ("clean", "pgd_eps4", "suite_eps1", "suite_eps2")  # pgd_eps4 at eps 2
# rows of the table `threats`: threat in reports/experiments/threats.csv, its name in the table
THREATS = {
    "adaptive_eps4": "the suite, eps 4",
    "autoattack_eps4": "AutoAttack `fast`, eps 4",
    "adaptive_eps8": "the suite, eps 8",
    "autoattack_eps8": "AutoAttack `fast`, eps 8",
    "square_eps4": "Square, 1,000 queries, eps 4",
    "worst_eps4": "pointwise worst at eps 4, Square included",
    "jpeg_eps4": "the suite straight through JPEG, eps 4",
    "clean+jpeg75": "clean, behind JPEG",
    "pgd_eps8": "oblivious PGD, eps 8",
    "pgd_eps8+wavelet": "oblivious PGD, eps 8, behind wavelets",
    "pgd_eps8+jpeg75": "oblivious PGD, eps 8, behind JPEG",
    "pgd_eps16+jpeg75": "oblivious PGD, eps 16, behind JPEG",
}
# the experiments of the table `refreshed` attacked by PGD where today's threats of these names are the suite
OLDER = THREATS | {
    "clean": "clean",
    "adaptive_eps4": "PGD on the cross-entropy, eps 4",
    "adaptive_eps8": "PGD on the cross-entropy, eps 8",
    "autoattack_eps1": "AutoAttack `fast`, eps 1",
    "autoattack_eps2": "AutoAttack `fast`, eps 2",
    "transfer_eps8": "transfer, eps 8",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def read_csv(read: Read, path: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(read(path)))


def verdict(ours: pd.Series, reference: pd.Series, p: float) -> str:
    """Return the p-value of a difference in words, with `noise` where the report calls it so."""
    line, other = (cast(Accuracy, SimpleNamespace(**one[["accuracy", "std"]])) for one in (ours, reference))
    found = Comparison(line, other, "", p)
    return f"noise ({found.reason})" if found.effect == "noise" else found.reason


def study(read: Read) -> Results:
    """Return the accuracies of the default."""
    params = load_params()
    methods, threats = methods_of(params, "all"), threats_of(params.oblivious, params.adaptive)
    return results_from(read_csv(read, "reports/accuracy.csv"), DATASET, methods, threats)


def cell(found: Results, line: Accuracy, interval: str = "") -> str:
    """Return an accuracy with its marks, and with the clean accuracy on the same images if they are a subset."""
    return ", ".join(filter(None, (marked(found, line, interval), clean_on_the_same(found, line))))


def results(read: Read) -> str:
    """Return the table of README.md: a row for each method, its price by class in the last column."""
    found = study(read)
    classes = read_csv(read, "reports/classes.csv").query("dataset == @DATASET")
    shown = {name: cell if name == "adaptive_eps4" else marked for name in COLUMNS}  # the other subset is the same
    rows = []
    for one in found.methods:
        cells = [show(found, found.lines[name, one.name]) for name, show in shown.items()]
        rows.append([one.label, *cells, price(classes, one) or "-"])
    heads = [f"{text}, n = {size(found, found.lines[name, REFERENCE])}" for name, text in COLUMNS.items()]
    notes = [
        "±: standard deviation over tuning seeds; an adaptive attack goes through the first seed.",
        f"{NOISE}: within noise of {found.reference.label}: p >= 0.05 (McNemar on every seed, Holm-corrected), or a "
        "difference of at most twice the spread over seeds.",
        f"Price: classes that lose {100 * PRICE:.0f} points or more on clean images.",
        footnote(found),
    ]
    return table(["method", *heads, "price by class"], rows) + "\n" + " ".join(filter(None, notes)) + "\n"


def default(read: Read) -> str:
    """Return all accuracies of the default, a row for each threat, with 95 % Wilson intervals."""
    found, rows = study(read), []
    for threat in found.threats:
        lines = found.of_threat(threat)
        about = [f"`{threat.name}`", threat.knowledge if threat.attack else "", size(found, lines[0])]
        rows.append([*about, *(cell(found, line, f" ({percent(line.low)}-{percent(line.high)})") for line in lines)])
    return table(["threat", "attacker", "n", *(method.label for method in found.methods)], rows)


def starts(read: Read) -> str:
    """Return what starts of the label-free attack leave of the hand-written prompt and of AdvPT."""
    lines = read_csv(read, "reports/starts.csv").set_index(["eps", "attack", "starts", "method"])["accuracy"]
    counts = sorted(lines.index.unique("starts"))
    head = ["eps", "attack", *(f"{count} start{'s' * (count > 1)}" for count in counts)]
    rows = []
    for eps, attack in dict.fromkeys((eps, attack) for eps, attack, *_ in lines.index):
        left = ([percent(lines[eps, attack, count, name]) for name in (REFERENCE, "advpt")] for count in counts)
        rows.append([str(eps), attack, *map(" / ".join, left)])
    return table(head, rows)


def experiment(read: Read, name: str) -> pd.DataFrame:
    """Return the accuracy table of an experiment, by threat and method."""
    return read_csv(read, f"reports/experiments/{name}.csv").set_index(["threat", "method"])


def refreshed(read: Read) -> str:
    """Return what the refreshed bank gains in the experiments under reports/experiments."""
    rows = []
    for name, threat in REFRESHED:
        lines = experiment(read, name).loc[threat]
        reference, ours = lines.loc[REFERENCE], lines.loc["advpt_refreshed"]
        points = 100 * (ours["accuracy"] - reference["accuracy"])
        gain = f"{points:+.1f}, {verdict(ours, reference, ours['p_zero_shot'])}"
        what = f"{ELSEWHERE[name]}, {OLDER[threat]}" if name in ELSEWHERE else OLDER[threat]
        numbers = [spread(line["accuracy"], line["std"]) for line in (reference, lines.loc["advpt"], ours)]
        rows.append([what, str(ours["n"]), str(ours["seeds"]), *numbers, gain])
    labels = [LABELS[name] for name in (REFERENCE, "advpt", "advpt_refreshed")]
    return table(["threat", "n", "attacked seeds", *labels, "gain over hand-written"], rows)


def threats(read: Read) -> str:
    """Return accuracies under attacks and behind defences that are not in the default."""
    lines = experiment(read, "threats")
    methods, rows = list(lines.index.unique("method")), []
    for threat, name in THREATS.items():
        of_threat = lines.loc[threat]
        rows.append([name, str(of_threat.loc[REFERENCE, "n"]), *map(percent, of_threat.loc[methods, "accuracy"])])
    return table(["threat", "n", *(LABELS[method] for method in methods)], rows)


def by_method(read: Read, name: str, columns: Sequence[str]) -> str:
    """Return an experiment with methods as rows and threats as columns, each with its n."""
    lines = experiment(read, name)
    head = [f"{threat}, n = {lines.loc[threat, 'n'].iloc[0]}" for threat in columns]
    rows = []
    for method in lines.index.unique("method"):
        rows.append([method, *(spread(*lines.loc[(threat, method), ["accuracy", "std"]]) for threat in columns)])
    return table(["method", *head], rows)


def seeds(read: Read, named: Mapping[str, str], columns: Sequence[str]) -> str:
    """Return several experiments below each other, each under a name, with threats as columns."""
    rows = []
    for name, about in named.items():
        lines = experiment(read, name)
        for method in lines.loc["clean"].index:
            found = (lines.loc[(threat, method)] for threat in columns if (threat, method) in lines.index)
            rows.append([about, method, *(spread(line["accuracy"], line["std"]) for line in found)])
    width = max(map(len, rows))
    return table(["", "method", *columns], (row + [""] * (width - len(row)) for row in rows))


def towers(read: Read) -> str:
    """Return accuracies of all methods on other models and data, at the eps of each."""
    lines = read_csv(read, "reports/towers.csv")
    eps = lines["threat"].str.extract(r"worst_eps(\d+)", expand=False)
    rows = []
    for model, of_model in lines.groupby("model", sort=False):
        found = of_model.set_index(["threat", "method"])
        radius = eps[of_model.index].dropna().iloc[0]
        for method in of_model["method"].unique():
            cells = [spread(*found.loc[(threat, method), ["accuracy", "std"]]) for threat in ("clean", "pgd")]
            attacked, reference = found.loc[("suite", method)], found.loc[("suite", REFERENCE)]
            p = attacked["p_reference"]
            against = "" if pd.isna(p) else verdict(attacked, reference, p)
            cells.append(spread(attacked["accuracy"], attacked["std"]))
            rows.append([model, radius, method, *cells, against])
    judged = ["clean, n = 1000", "oblivious, n = 1000", "adaptive, n = 500"]
    return table(["model", "eps", "method", *judged, "against hand-written"], rows)


def autoattack(read: Read, *, part: str) -> str:
    """Return what the suite leaves of some images, and what AutoAttack leaves of these: a part of the table."""
    lines = read_csv(read, "reports/autoattack.csv")
    lines = lines[lines["model"].where(lines["model"].isin(["default", "kinds"]), "towers") == part]
    lines["row"] = lines["model"] + ", eps " + lines["eps"].astype(str)
    lines["cell"] = lines["suite"].astype(str) + " / " + lines["autoattack"].astype(str)
    methods, rows = (list(dict.fromkeys(lines[name])) for name in ("method", "row"))
    cells = lines.pivot(index="row", columns="method", values="cell").loc[rows, methods].fillna("")
    return table(["", *(method.rpartition("/")[2] for method in methods)], ([row, *cells.loc[row]] for row in rows))


def deviations(read: Read) -> str:
    """Return the accuracies of both methods here and there, a row for each deviation."""
    lines = read_csv(read, "reports/deviations.csv").set_index(["deviation", "where"])
    methods = [name for name in lines if not name.endswith(", std")]

    def cell(deviation: str, method: str) -> str:
        pair = lines.loc[deviation].loc[["here", "there"]]
        stds = pair.get(f"{method}, std", pd.Series([None, None]))
        return " / ".join(spread(mean, std) for mean, std in zip(pair[method], stds, strict=True))

    names = lines.index.unique("deviation")
    return table(["there", *methods], ([name, *(cell(name, method) for method in methods)] for name in names))


def at_bank_eps(read: Read) -> str:
    """Return the accuracies of contexts clean and under the oblivious attack at the eps of AdvPT's bank."""
    lines = read_csv(read, "reports/at_bank_eps.csv").set_index(["model", "threat", "method"])
    rows = []
    for model, threat, method in lines.index:
        if threat == "clean":
            clean, attacked = (lines.loc[(model, name, method)] for name in ("clean", "pgd"))
            p, reference = attacked["p_reference"], lines.loc[(model, "pgd", REFERENCE)]
            against = "" if pd.isna(p) else verdict(attacked, reference, p)
            cells = [spread(line["accuracy"], line["std"]) for line in (clean, attacked)]
            rows.append([model, f"{attacked['eps']:g}", method, *cells, against])
    return table(["model", "eps", "method", "clean", "oblivious", "against hand-written"], rows)


def pixel_prompt(read: Read, *, default_model: bool) -> str:
    """Return how variants of a pixel prompt do on validation images, beside the hand-written prompt."""
    lines = read_csv(read, "reports/pixel_prompt.csv")
    found = [name.removeprefix("tuned, ") for name in lines.columns if name.startswith("tuned, ")]
    rows = []
    for _, line in lines[(lines["model"] == VARIED) == default_model].iterrows():
        pairs = [(line[f"hand-written, {name}"], line[f"tuned, {name}"]) for name in found]
        cells = ("" if pd.isna(tuned) else f"{by_hand:.1f} / {tuned:.1f}" for by_hand, tuned in pairs)
        rows.append([line["model"], line["variant"], *cells])
    return table(["model", "variant", *found], rows)


def breaking(read: Read) -> str:
    """Return what attempts to break the pixel prompt leave, in % of all images."""
    lines = read_csv(read, "reports/breaking.csv")
    lines["share"] = lines["left"] / lines["n"]
    shares = lines.pivot(index="attempt", columns=["method", "eps"], values="share")
    cells = shares.map(lambda share: "-" if pd.isna(share) else percent(share))
    head = ["attempt", *(f"{method}, eps {eps}" for method, eps in shares.columns)]
    return table(head, ([attempt, *cells.loc[attempt]] for attempt in lines["attempt"].unique()))


def test_time(read: Read) -> str:
    """Return what test-time defences keep, with 95 % intervals, and what a prediction costs, the most robust first."""
    lines = read_csv(read, "reports/test_time.csv").sort_values("adaptive", ascending=False, kind="stable")
    rows = []
    for _, line in lines.iterrows():
        share, low, high = (percent(line[name]) for name in ("adaptive", "adaptive low", "adaptive high"))
        kept = [percent(line["clean"]), percent(line["oblivious"]), f"{share} ({low}-{high})"]
        gap = f"{100 * (line['oblivious'] - line['adaptive']):.1f}"
        rows.append([line["label"], *kept, gap, f"{line['forwards']} + {line['backwards']}", f"{line['time']:.1f}"])
    head = ["method", "clean", "oblivious", "adaptive", "gap", "passes", "time"]
    return table(head, rows)


def gradients(read: Read) -> str:
    """Return how many of 100 images stay right behind each image processing, under each attack."""
    lines = read_csv(read, "reports/gradients.csv")
    attacks = {
        "none": "clean",
        "suite, 16 steps, gradient: identity": "straight through",
        "suite, 16 steps, gradient: declared": "declared gradient",
        "suite, 100 steps, gradient: declared": "declared gradient, 100 steps",
        "PGD, 100 steps, 16 draws in each gradient": "PGD, 100 steps, 16 draws",
        "search over levels": "search over levels",
    }
    rows = []
    for (model, eps, kind), part in lines.groupby(["model", "eps", "kind"], sort=False):
        right = part.set_index("attack")["right"]
        rows.append([model, f"{eps}", kind, *(f"{right[name]}" if name in right else "" for name in attacks)])
    return table(["model", "eps", "processing", *attacks.values()], rows)


def certified(read: Read) -> str:
    """Return what randomised smoothing certifies: the share of images by L2 radius."""
    lines = read_csv(read, "reports/certified.csv")
    radii = [name for name in lines.columns if name.startswith("L2 ")]
    head = ["method", "sigma", "n", *radii]
    rows = (
        [line["method"], f"{line['sigma']:g}", str(line["n"]), *map(percent, line[radii])]
        for _, line in lines.iterrows()
    )
    return table(head, rows)


def benchmarks(read: Read) -> str:
    """Return what reports/studies/benchmarks has measured, a table for each machine and benchmark."""
    made = []
    for path in sorted(Path("reports/benchmarks").glob("*.json")):
        found = json.loads(read(path.as_posix()))
        machine = found["machine"]
        where = f"{machine['device']}, {machine['capability']}, torch {machine['torch']}, {machine['date']}"
        rows = ([shown(value) for value in row.values()] for row in found["rows"])
        made.append(f"`{path.stem}` ({where})\n\n{table(found['rows'][0], rows)}")
    return "\n".join(made)


def reliability(read: Read) -> str:
    """Return what the reliability tests have counted."""
    counted = json.loads(read("reports/reliability.json"))
    damaged = [name.removesuffix(" tried") for name in counted if name.endswith(" tried")]
    single = [name for name in counted if name.rpartition(" ")[0] not in damaged]
    made = table(["what was tried", "how often"], ([name, f"{counted[name]:,}"] for name in single))
    rows = []
    for name in damaged:
        tried, refused = counted[f"{name} tried"], counted[f"{name} refused"]
        otherwise = counted.get(f"{name} read", counted.get(f"{name} decoded", 0))
        rows.append([name, *(f"{n:,}" for n in (tried, refused, tried - refused - otherwise, otherwise))])
    head = ["damaged files", "tried", "refused by name", "read as written", "read with other content"]
    return f"{made}\n{table(head, rows)}"


def supported(read: Read) -> str:
    """Return the models of open_clip, by whether they are accepted and why not."""
    lines = read_csv(read, "reports/supported.csv").fillna({"refused": ""})
    lines["fast"] = lines["fast"].eq(True)
    rows = []
    for (refused, fast, tokens), group in lines.groupby(["refused", "fast", "context_length"], dropna=False):
        accepted = "accepted, fast image tower" if fast else "accepted"
        order = (refused != "", not fast, -len(group))
        cells = [f"refused: {refused}" if refused else accepted, "" if pd.isna(tokens) else f"{tokens:.0f}"]
        rows.append((order, [*cells, str(len(group)), ", ".join(group["name"])]))
    head = [f"open_clip {lines['open_clip'].iloc[0]}", "tokens of a text", "models", "names"]
    return table(head, (row for _, row in sorted(rows)))


DOCUMENTS: dict[str, dict[str, Callable[[Read], str]]] = {
    "README.md": {"results": results},
    "docs/experiments.md": {
        "default": default,
        "starts": starts,
        "threats": threats,
        "refreshed": refreshed,
        "adversarial": partial(by_method, name="adversarial", columns=ADVERSARIAL),
        "kinds": partial(by_method, name="kinds", columns=KINDS),
        "towers": towers,
        "at-bank-eps": at_bank_eps,
        "autoattack": partial(autoattack, part="default"),
        "autoattack-towers": partial(autoattack, part="towers"),
        "autoattack-kinds": partial(autoattack, part="kinds"),
        "seeds": partial(seeds, named=SEEDS, columns=ADVERSARIAL),
        "breaking": breaking,
        "photo-tokens": partial(seeds, named=PHOTO_TOKENS, columns=ON_PHOTOS),
        "pixel-prompt": partial(pixel_prompt, default_model=True),
        "pixel-prompt-elsewhere": partial(pixel_prompt, default_model=False),
        "certified": certified,
        "test-time": test_time,
        "gradients": gradients,
    },
    "docs/deviations.md": {"deviations": deviations},
    "docs/models-and-data.md": {"supported": supported},
    "docs/performance.md": {"benchmarks": benchmarks},
    "docs/reliability.md": {"reliability": reliability},
}


def from_disk(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def with_tables(document: str, text: str, read: Read = from_disk) -> str:
    """Return the text of a document, a key of DOCUMENTS, with its tables; refuse one without a place for each."""
    for name, make in DOCUMENTS[document].items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, found, behind = rest.partition(end)
        if not found:
            raise ValueError(f"{document}: no place for the table {name}: {begin.strip()} and {end} have to be there")
        text = before + begin + make(read) + end + behind
    return text


if __name__ == "__main__":
    for document in DOCUMENTS:
        Path(document).write_text(with_tables(document, from_disk(document)), encoding="utf-8")
