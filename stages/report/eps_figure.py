"""Robust accuracy against eps, for each prompt under each kind of attack."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stages.report.accuracy_figure import look
from stages.report.findings import effect
from stages.report.statistics import wilson
from stages.report.style import COLOURS, GRID, GROUNDS, PERCENT_TICKS, png, styled
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import CLEAN, PROMPTS, Threat

ACROSS = 3  # panels beside each other
LINES = {"hand": "-", "coop": "--", "advpt": "-", "advpt_refreshed": "-."}
Families = dict[tuple[str, str], list[Threat]]  # what the attacker knows, method -> threats


def eps_figure(results: Results, datasets: list[str], threats: list[Threat]) -> bytes:
    """One panel per data set and kind of attack, behind no defence.

    Returns:
        A PNG. Lines begin at clean accuracy and join the strongest attacks of each eps; bars: 95 % Wilson intervals.
    """
    kinds = families(threats)
    columns = min(len(kinds), ACROSS)
    lines = len(datasets) * -(-len(kinds) // columns)
    with styled():
        figure = Figure(figsize=(8.4, 2.7 * lines + 0.4), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for block, dataset in zip(panels.reshape(len(datasets), -1), datasets, strict=True):
            for panel in block[len(kinds) :]:
                panel.set_axis_off()
            for panel, ((knowledge, method), family) in zip(block, kinds.items(), strict=False):
                draw(panel, results, dataset, family)
                panel.set(title=f"{dataset}: {method} ({knowledge})", facecolor=GROUNDS[knowledge])
        for row in panels:
            row[0].set_ylabel("robust accuracy in %")
        handles = [Line2D([], [], **{**look(name), "linestyle": LINES[name]}, label=PROMPTS[name]) for name in PROMPTS]
        hollow = Line2D([], [], **look("hand", hollow=True), label="within noise of hand-written")
        figure.legend(handles=[*handles, hollow], loc="outside upper left", ncols=5)
        return png(figure)


def families(threats: list[Threat]) -> Families:
    """The undefended threats of each kind, from the smallest eps up; without any, `clean` alone."""
    found: Families = {}
    for threat in sorted(threats, key=lambda one: one.eps):
        if threat.attack and threat.defence == "none":
            method = threat.attack["method"].replace("_", " ")
            found.setdefault((threat.knowledge, method), []).append(threat)
    order = [(threat.knowledge, threat.attack["method"].replace("_", " ")) for threat in threats if threat.attack]
    return {kind: found[kind] for kind in dict.fromkeys(order) if kind in found} or {("clean", "no attack"): []}


def draw(panel: Axes, results: Results, dataset: str, family: list[Threat]) -> None:
    """Draws one kind of attack, beginning at the clean images."""
    for prompt in PROMPTS:
        lowest: dict[float, float] = {}
        for threat in [CLEAN, *family]:
            line, hand = (results[dataset, threat.name, name] for name in (prompt, "hand"))
            if threat is CLEAN and family:
                line = on_clean_images(results[dataset, family[0].name, prompt], line)
            hollow = prompt != "hand" and effect(line, hand) == "noise"
            panel.vlines(threat.eps, line.low, line.high, color=COLOURS[prompt], linewidth=1.2)
            panel.plot(threat.eps, line.accuracy, **look(prompt, hollow=hollow), zorder=3, clip_on=False)
            lowest[threat.eps] = min(line.accuracy, lowest.get(threat.eps, 1))
        panel.plot(list(lowest), list(lowest.values()), LINES[prompt], color=COLOURS[prompt], linewidth=1.2)
    panel.set(xlim=(0, None), ylim=(0, 1), xlabel="eps in 1/255")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_yticks(*PERCENT_TICKS)
    panel.grid(**GRID)
    panel.set_axisbelow(True)


def on_clean_images(attacked: Accuracy, clean: Accuracy) -> Accuracy:
    """The clean accuracy, on the images that were attacked if these are fewer."""
    if attacked.n == clean.n:
        return clean
    low, high = wilson(attacked.clean_accuracy, attacked.n)
    return clean._replace(accuracy=attacked.clean_accuracy, low=low, high=high, n=attacked.n)
