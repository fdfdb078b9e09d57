"""The tables of README.md, made from metrics.json, sweep.csv, rounds.csv, experiments, reliability.json and benchmarks.

python -m reports.studies.readme writes them into README.md; a test checks that they are there.
"""

import csv
import json
from pathlib import Path

from reports.studies.benchmarks.measuring import shown
from reports.studies.sweep import LABELS
from stages.runtime.params import load_params

# rows of the table `refreshed`: of which reports/experiments/NAME.csv, which threat
REFRESHED = (
    ("seeds", "clean"),
    ("eps", "autoattack_eps1"),
    ("eps", "autoattack_eps2"),
    ("seeds", "autoattack_eps4"),
    ("eps", "autoattack_eps8"),
    ("seeds", "adaptive_eps4"),
    ("seeds", "transfer_eps8"),
    ("second", "clean"),
    ("second", "autoattack_eps4"),
    ("second", "adaptive_eps4"),
    ("second", "adaptive_eps8"),
    ("vit", "clean"),
    ("vit", "autoattack_eps4"),
    ("vit", "adaptive_eps4"),
    ("vit", "adaptive_eps8"),
)
ELSEWHERE = {"second": "**second cut**", "vit": "**tiny ViT**"}  # experiments on other data or another model
# rows of the table `threats`, of reports/experiments/threats.csv
THREATS = (
    "adaptive_eps4",
    "autoattack_eps4",
    "adaptive_eps8",
    "autoattack_eps8",
    "square_eps4",
    "worst_eps4",
    "jpeg_eps4",
    "clean+jpeg75",
    "pgd_eps8",
    "pgd_eps8+wavelet",
    "pgd_eps8+jpeg75",
    "pgd_eps16+jpeg75",
)
NAMES = {
    "clean": "clean",
    "adaptive_eps4": "PGD on the cross-entropy, eps 4",
    "adaptive_eps8": "PGD on the cross-entropy, eps 8",
    "autoattack_eps1": "AutoAttack `fast`, eps 1",
    "autoattack_eps2": "AutoAttack `fast`, eps 2",
    "autoattack_eps4": "AutoAttack `fast`, eps 4",
    "autoattack_eps8": "AutoAttack `fast`, eps 8",
    "square_eps4": "Square, 1,000 queries, eps 4",
    "worst_eps4": "the worst at eps 4 for each image, Square included",
    "transfer_eps8": "transfer, eps 8",
    "jpeg_eps4": "the suite through JPEG (BPDA), eps 4",
    "clean+jpeg75": "clean, behind JPEG",
    "pgd_eps8": "oblivious PGD, eps 8",
    "pgd_eps8+wavelet": "oblivious PGD, eps 8, behind wavelets",
    "pgd_eps8+jpeg75": "oblivious PGD, eps 8, behind JPEG",
    "pgd_eps16+jpeg75": "oblivious PGD, eps 16, behind JPEG",
}
# of the table `threats`; the older experiments of the table `refreshed` have PGD under these names
SUITE = {"adaptive_eps4": "the suite, eps 4", "adaptive_eps8": "the suite, eps 8"}


def cell(numbers: dict, *, subset: bool) -> str:
    """One accuracy: percent, ± std over seeds where there are several, interval; of a subset also clean accuracy."""
    spread = "" if numbers["std"] is None else f" ± {100 * numbers['std']:.1f}"
    clean = f", clean {100 * numbers['clean_accuracy']:.1f}" if subset else ""
    return f"{100 * numbers['accuracy']:.1f}{spread} ({100 * numbers['low']:.1f}-{100 * numbers['high']:.1f}){clean}"


def table(metrics: dict) -> str:
    """The table of the default data set in Markdown; threats that attack a subset of the test images are marked."""
    params = load_params()
    knowledge = dict.fromkeys(params.oblivious, "oblivious") | dict.fromkeys(params.adaptive, "adaptive")
    reference, *others = metrics["fashion"]["clean"]
    names = " | ".join(LABELS.get(method, method) for method in (reference, *others))
    lines = [f"| threat | its attacker | n | {names} |", f"|{'---|' * (4 + len(others))}"]
    everything, counts = metrics["fashion"]["clean"][reference]["n"], set()
    for threat, methods in metrics["fashion"].items():
        n = methods[reference]["n"]
        cells = " | ".join(cell(numbers, subset=n < everything) for numbers in methods.values())
        lines.append(f"| {threat} | {knowledge.get(threat, '')} | {n}{'†' * (n < everything)} | {cells} |")
        counts |= {n} - {everything}
    some = " or ".join(map(str, sorted(counts)))
    note = f"† {some} of {everything} test images, a class-balanced draw; clean: the same images without attack."
    return "\n".join([*lines, *(["", note] if counts else [])]) + "\n"


def benchmark(path: Path) -> str:
    """One benchmark's rows in Markdown, under the machine that they are of."""
    found = json.loads(path.read_text(encoding="utf-8"))
    machine = found["machine"]
    where = f"{machine['device']}, {machine['capability']}, torch {machine['torch']}, {machine['date']}"
    head, *rows = [list(found["rows"][0]), *[[shown(value) for value in row.values()] for row in found["rows"]]]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([f"`{path.stem}` ({where})", "", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n\n"


def reliability() -> str:
    """What the reliability tests have counted, in Markdown."""
    counted = json.loads(Path("reports/reliability.json").read_text(encoding="utf-8"))
    damaged = [name.removesuffix(" tried") for name in counted if name.endswith(" tried")]
    single = [name for name in counted if name.rpartition(" ")[0] not in damaged]
    lines = ["| what was tried | how often |", "|---|---|", *(f"| {name} | {counted[name]:,} |" for name in single)]
    lines += ["", "| damaged files | tried | refused by name | read whole |", "|---|---|---|---|"]
    for name in damaged:
        read = counted.get(f"{name} read", counted.get(f"{name} decoded", 0))
        lines.append(f"| {name} | {counted[f'{name} tried']:,} | {counted[f'{name} refused']:,} | {read:,} |")
    return "\n".join(lines) + "\n"


def sweep() -> str:
    """What experiments have found, in Markdown."""
    with Path("reports/sweep.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    threats = list(rows[0])[3:]
    lines = [f"| {' | '.join(['changed', *threats])} |", f"|{'---|' * (1 + len(threats))}"]
    for row in rows:
        numbers = (f"{100 * float(row[threat]):.1f}" for threat in threats)
        lines.append(f"| {' | '.join([row['changed'], *numbers])} |")
    return "\n".join(lines) + "\n"


def rounds() -> str:
    """What experiments with rounds of refreshing have found on validation images, in Markdown."""
    with Path("reports/rounds.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["images"] == "validation"]
    lines = ["| changed | clean | adaptive, eps 4 | gain over hand-written |", "|---|---|---|---|"]
    for row in rows:
        adaptive = f"{percent(row['adaptive_eps4_advpt_refreshed'])} ± {percent(row['std'])}"
        cells = [row["changed"], percent(row["clean_advpt_refreshed"]), adaptive, f"{100 * float(row['gain']):+.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    clean, adaptive = (percent(rows[0][f"{threat}_zero_shot"]) for threat in ("clean", "adaptive_eps4"))
    lines.append(f"| *hand-written* | {clean} | {adaptive} | |")
    return "\n".join(lines) + "\n"


def folds() -> str:
    """What ways to tune on a refreshed bank have gained in cross-validation, in Markdown."""
    with Path("reports/folds.csv").open(encoding="utf-8", newline="") as file:
        by_hand, *rows = csv.DictReader(file)
    threats = [name for name in by_hand if f"{name} se" in by_hand]
    lines = [f"| tuned | {' | '.join(threats)} |", f"|{'---|' * (1 + len(threats))}"]
    for row in rows:
        gains = (f"{float(row[threat]):+.2f} ± {float(row[f'{threat} se']):.2f}" for threat in threats)
        lines.append(f"| {' | '.join([row['tuned'], *gains])} |")
    accuracies = (f"{float(by_hand[threat]):.2f} %" if by_hand[threat] else "" for threat in threats)
    lines.append(f"| *{by_hand['tuned']}* | {' | '.join(accuracies)} |")
    return "\n".join(lines) + "\n"


def refreshed() -> str:
    """What the refreshed bank gains in the experiments under reports/experiments, in Markdown."""
    lines = ["| threat | n | attacked seeds | hand-written | AdvPT | AdvPT refreshed | gain over hand-written |"]
    lines.append(f"|{'---|' * 7}")
    for experiment, threat in REFRESHED:
        rows = experiment_rows(experiment)
        hand, advpt, ours = (rows[threat, prompt] for prompt in ("zero_shot", "advpt", "advpt_refreshed"))
        numbers = [percent(row["accuracy"]) + (row["std"] and f" ± {percent(row['std'])}") for row in (advpt, ours)]
        name = f"{ELSEWHERE[experiment]}, {NAMES[threat]}" if experiment in ELSEWHERE else NAMES[threat]
        cells = [name, ours["n"], ours["seeds"], percent(hand["accuracy"]), *numbers, gain(hand, ours)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def threats() -> str:
    """Accuracy under the attacks and behind the defences that are not in the default, in Markdown."""
    rows = experiment_rows("threats")
    methods = list(dict.fromkeys(method for _, method in rows))
    lines = [f"| threat | n | {' | '.join(LABELS[method] for method in methods)} |", f"|{'---|' * (2 + len(methods))}"]
    for threat in THREATS:
        numbers = (percent(rows[threat, method]["accuracy"]) for method in methods)
        cells = [(NAMES | SUITE)[threat], rows[threat, "zero_shot"]["n"], *numbers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def experiment_rows(name: str) -> dict[tuple[str, str], dict[str, str]]:
    """The accuracy table of an experiment, by threat and method."""
    with Path(f"reports/experiments/{name}.csv").open(encoding="utf-8", newline="") as file:
        return {(row["threat"], row["method"]): row for row in csv.DictReader(file)}


def gain(hand: dict[str, str], ours: dict[str, str]) -> str:
    """A difference in points, and whether the paired test can tell it from noise."""
    points, p = 100 * (float(ours["accuracy"]) - float(hand["accuracy"])), float(ours["p_zero_shot"])
    told = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return f"{points:+.1f}, {told}" if p < 0.05 else f"{points:+.1f}, noise ({told})"


def percent(fraction: str) -> str:
    """A fraction in percent."""
    return f"{100 * float(fraction):.1f}"


def benchmarks() -> str:
    """What was measured by reports/studies/benchmarks, in Markdown."""
    return "".join(map(benchmark, sorted(Path("reports/benchmarks").glob("*.json"))))


def with_tables(readme: str, metrics: dict) -> str:
    """README.md with the table of these metrics and the others, each between `<!-- NAME -->` and `<!-- /NAME -->`."""
    tables = {
        "results": table(metrics),
        "threats": threats(),
        "sweep": sweep(),
        "refreshed": refreshed(),
        "rounds": rounds(),
        "folds": folds(),
        "benchmarks": benchmarks(),
        "reliability": reliability(),
    }
    for name, made in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = readme.partition(begin)
        _, found, behind = rest.partition(end)
        if not found:
            raise ValueError(f"README.md has no place for the table {name}")
        readme = before + begin + made + end + behind
    return readme


if __name__ == "__main__":
    path = Path("README.md")
    metrics = json.loads(Path("reports/metrics.json").read_text(encoding="utf-8"))
    path.write_text(with_tables(path.read_text(encoding="utf-8"), metrics), encoding="utf-8")
