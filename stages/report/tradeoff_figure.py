"""What robustness costs: clean accuracy against robust accuracy, for each prompt and threat."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.report.accuracy_figure import look
from stages.report.findings import effect
from stages.report.statistics import wilson
from stages.report.style import COLOURS, GRID, GROUNDS, PERCENT_TICKS, png, styled
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import PROMPTS, Threat

APART = 0.05  # names of threats on the axis of fractions
LOWEST = 0.02  # and how far from its ends


def tradeoff_figure(results: Results, datasets: list[str], threats: list[Threat]) -> bytes:
    """One line of panels per data set, one for each kind of attacker; both axes from 0 to 100 %.

    Returns:
        A PNG. The marks of one threat are joined; crosses are 95 % Wilson intervals.
    """
    kinds = [kind for kind in ("oblivious", "adaptive") if any(threat.knowledge == kind for threat in threats)]
    with styled():
        figure = Figure(figsize=(8.4, 3.9 * len(datasets) + 0.4), layout="constrained")
        panels = figure.subplots(len(datasets), max(len(kinds), 1), squeeze=False, sharey=True)
        for row, dataset in zip(panels, datasets, strict=True):
            for panel, kind in zip(row, kinds or ["clean"], strict=True):
                draw(panel, results, dataset, [threat for threat in threats if threat.knowledge == kind])
                panel.set(title=f"{dataset}, {kind}", facecolor=GROUNDS[kind])
            row[0].set_ylabel("robust accuracy in %")
        filled = [Line2D([], [], **look(prompt), label=name) for prompt, name in PROMPTS.items()]
        hollow = Line2D([], [], **look("hand", hollow=True), label="robust accuracy within noise of hand-written")
        figure.legend(handles=[*filled, hollow], loc="outside upper left", ncols=3)
        return png(figure)


def draw(panel: Axes, results: Results, dataset: str, threats: list[Threat]) -> None:
    """Draws the threats of one kind of attacker."""
    places = {}
    for threat in threats:
        lines = [results[dataset, threat.name, prompt] for prompt in PROMPTS]
        ends = sorted((line.clean_accuracy, line.accuracy) for line in lines)
        panel.plot(*zip(*ends, strict=True), color="#b8bfc7", linewidth=0.9, zorder=1)
        for line in lines:
            draw_point(panel, line, results[dataset, threat.name, "hand"])
        places[threat.name] = ends[0]
    left = min((clean for clean, _ in places.values()), default=1)
    for name, height in spread({name: robust for name, (_, robust) in places.items()}).items():
        panel.text(left - 0.05, height, name, ha="right", va="center", fontsize=7)
    panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="clean accuracy in %")
    panel.set_xticks(*PERCENT_TICKS)
    panel.set_yticks(*PERCENT_TICKS)
    panel.grid(**GRID)
    panel.set_axisbelow(True)


def draw_point(panel: Axes, line: Accuracy, hand: Accuracy) -> None:
    """Draws one prompt under one threat with both intervals; clean accuracy is that on the images attacked."""
    colour = COLOURS[line.prompt]
    hollow = line is not hand and effect(line, hand) == "noise"
    panel.hlines(line.accuracy, *wilson(line.clean_accuracy, line.n), color=colour, linewidth=1.2)
    panel.vlines(line.clean_accuracy, line.low, line.high, color=colour, linewidth=1.2)
    on_top = 4 if line is hand else 3
    panel.plot(line.clean_accuracy, line.accuracy, **look(line.prompt, hollow=hollow), zorder=on_top)


def spread(heights: dict[str, float]) -> dict[str, float]:
    """Moves names up until each is APART above the next lower one, then down from the top of the axis if need be."""
    moved, floor, ceiling = {}, LOWEST - APART, 1 - LOWEST
    for name in sorted(heights, key=heights.__getitem__):
        moved[name] = floor = max(heights[name], floor + APART)
    for name in reversed(moved):
        moved[name] = min(moved[name], ceiling)
        ceiling = moved[name] - APART
    return moved
