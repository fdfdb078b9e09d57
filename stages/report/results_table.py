"""The results as an HTML table: threats down with what the attacker knows, prompts across."""

from html import escape
from itertools import groupby

import pandas as pd

from stages.report.findings import effect, points, reason, signed
from stages.report.region import region
from stages.report.subsets import clean_beside, counted, footnote
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import EFFECTS, KNOWLEDGE, PROMPTS, Threat

COMPARED = (  # a tuned prompt, and what its gain is counted from
    ("advpt", "hand"),
    ("advpt", "coop"),
    ("advpt_refreshed", "hand"),
    ("advpt_refreshed", "advpt"),
)


def results_table(results: Results, dataset: str, threats: list[Threat]) -> str:
    """The table of one data set, with a footnote if a threat attacks a subset; accuracies in percent."""
    prompts = "".join(f'<th scope="col">{escape(name)}</th>' for name in PROMPTS.values())
    gains = "".join(
        f'<th scope="col">{escape(PROMPTS[one])} − {escape(PROMPTS[other])}</th>' for one, other in COMPARED
    )
    head = f'<tr><th scope="col">threat</th><th scope="col">eps</th><th scope="col">n</th>{prompts}{gains}</tr>'
    bodies = [
        f'<tbody class="{escape(knowledge)}">{title_row(knowledge)}'
        f"{''.join(threat_row(results, dataset, threat) for threat in group)}</tbody>"
        for knowledge, group in groupby(threats, lambda threat: threat.knowledge)
    ]
    legend = ", ".join(f"{mark} {words}" for mark, words in EFFECTS.values())
    caption = f"<caption>{escape(dataset)}<small> {escape(legend)}</small></caption>"
    table = f'<table class="results">{caption}<thead>{head}</thead>{"".join(bodies)}</table>'
    note = footnote(results, dataset, threats)
    return region(table, f"Results on {dataset}") + (f"<p>{escape(note)}</p>" if note else "")


def title_row(knowledge: str) -> str:
    """The line above the threats of one kind of attacker."""
    title = f"<b>{escape(knowledge)}</b>: {escape(KNOWLEDGE[knowledge])}"
    return f'<tr><th class="group" scope="rowgroup" colspan="{3 + len(PROMPTS) + len(COMPARED)}">{title}</th></tr>'


def threat_row(results: Results, dataset: str, threat: Threat) -> str:
    """One threat: its accuracies, then what is gained or lost."""
    lines = {prompt: results[dataset, threat.name, prompt] for prompt in PROMPTS}
    counts = counted(results, lines.values())
    name = f'<th scope="row">{escape(threat.name)}<small>{escape(threat.recipe)}</small></th>'
    eps = f"<td>{threat.eps:g}/255</td>" if threat.attack else "<td>0</td>"
    accuracies = "".join(accuracy_cell(line, lines["hand"], clean_beside(results, line)) for line in lines.values())
    gains = "".join(gain_cell(lines[one], lines[other]) for one, other in COMPARED)
    return f"<tr>{name}{eps}<td>{counts}</td>{accuracies}{gains}</tr>"


def accuracy_cell(line: Accuracy, hand: Accuracy, beside: str) -> str:
    """Accuracy, 95 % interval, deviation over the tuning seeds, what stands beside; of a tuned prompt also its mark."""
    interval = f"[{100 * line.low:.1f}, {100 * line.high:.1f}]"
    seeds = "1 seed" if pd.isna(line.std) else f"± {100 * line.std:.1f}<br>{line.seeds} seeds"
    mark = "" if line is hand else marked(line, hand)
    below = f"<br>{beside}" if beside else ""
    return f"<td>{mark}<b>{100 * line.accuracy:.1f}</b><small>{interval}<br>{seeds}{below}</small></td>"


def marked(line: Accuracy, hand: Accuracy) -> str:
    """The mark of a tuned prompt, with its meaning for the pointer and for those who do not see it."""
    kind = effect(line, hand)
    mark, words = EFFECTS[kind]
    told = escape(f"{words} ({reason(line, hand)})")
    return f'<span class="{kind}" role="img" aria-label="{told}" title="{told}">{mark}</span> '


def gain_cell(line: Accuracy, baseline: Accuracy) -> str:
    """The difference in points; said to be noise where it could be."""
    gain, kind = signed(points(line, baseline)), effect(line, baseline)
    opening = f'<td class="{kind}" title="{escape(reason(line, baseline))}">'
    if kind == "noise":
        return f"{opening}{gain}<small>within noise</small></td>"
    return f"{opening}<b>{gain}</b><small>{kind}</small></td>"
