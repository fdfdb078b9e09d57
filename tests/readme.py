"""The tables of README.md, made from reports/metrics.json, sweep.csv, rounds.csv, reliability.json and benchmarks.

python -m tests.readme writes them into README.md; a test checks that they are there.
"""

import csv
import json
import re
from pathlib import Path

from stages.params import load_params
from stages.report.vocabulary import PROMPTS
from tests.benchmarks.measuring import shown

BLOCK = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
BENCHMARKS = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)
SWEEP = re.compile(r"(<!-- sweep -->\n).*?(<!-- /sweep -->)", re.DOTALL)
ROUNDS = re.compile(r"(<!-- rounds -->\n).*?(<!-- /rounds -->)", re.DOTALL)
RELIABILITY = re.compile(r"(<!-- reliability -->\n).*?(<!-- /reliability -->)", re.DOTALL)


def cell(numbers: dict) -> str:
    """One accuracy: percent, ± std over seeds where there are several, interval."""
    spread = "" if numbers["std"] is None else f" ± {100 * numbers['std']:.1f}"
    return f"{100 * numbers['accuracy']:.1f}{spread} ({100 * numbers['low']:.1f}-{100 * numbers['high']:.1f})"


def table(metrics: dict) -> str:
    """The table of the default data set in Markdown."""
    params = load_params()
    knowledge = dict.fromkeys(params.oblivious, "oblivious") | dict.fromkeys(params.adaptive, "adaptive")
    lines = [f"| threat | its attacker | n | {' | '.join(PROMPTS.values())} |", f"|{'---|' * (3 + len(PROMPTS))}"]
    for threat, prompts in metrics["fashion"].items():
        cells = " | ".join(cell(prompts[prompt]) for prompt in PROMPTS)
        lines.append(f"| {threat} | {knowledge.get(threat, '')} | {prompts['hand']['n']} | {cells} |")
    return "\n".join(lines) + "\n"


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
    lines.append(f"| *hand-written* | {percent(rows[0]['clean_hand'])} | {percent(rows[0]['adaptive_eps4_hand'])} | |")
    return "\n".join(lines) + "\n"


def percent(fraction: str) -> str:
    """A fraction in percent."""
    return f"{100 * float(fraction):.1f}"


def with_table(readme: str, metrics: dict) -> str:
    """README.md with the table of these metrics and those of the benchmarks and of the reliability tests."""
    readme = BLOCK.sub(lambda found: found[1] + table(metrics) + found[2], readme)
    benchmarks = "".join(map(benchmark, sorted(Path("reports/benchmarks").glob("*.json"))))
    readme = SWEEP.sub(lambda found: found[1] + sweep() + found[2], readme)
    readme = ROUNDS.sub(lambda found: found[1] + rounds() + found[2], readme)
    readme = RELIABILITY.sub(lambda found: found[1] + reliability() + found[2], readme)
    return BENCHMARKS.sub(lambda found: found[1] + benchmarks + found[2], readme)


if __name__ == "__main__":
    path = Path("README.md")
    metrics = json.loads(Path("reports/metrics.json").read_text(encoding="utf-8"))
    path.write_text(with_table(path.read_text(encoding="utf-8"), metrics), encoding="utf-8")
