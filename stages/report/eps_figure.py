"""Robust accuracy against eps under the strongest oblivious and adaptive attacks."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.comparison import is_noise
from stages.report.statistics import wilson
from stages.report.style import GRID, GROUNDS, add_legend, as_png, legend_inches, looks_of, percent_axis
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import CLEAN

COLUMNS = 5


@as_png
def eps_figure(studies: list[Results]) -> Figure:
    """Draw a panel for each data set and kind of attacker; lines begin at the clean accuracy on the attacked images."""
    first = studies[0]
    kinds = list(dict.fromkeys(one.knowledge for one in first.threats if one.attack)) or ["clean"]
    figure = Figure(figsize=(8.4, 3.2 * len(studies) + legend_inches(first.methods, COLUMNS)), layout="constrained")
    panels = figure.subplots(len(studies), len(kinds), squeeze=False, sharey=True)
    for row, study in zip(panels, studies, strict=True):
        for panel, kind in zip(row, kinds, strict=True):
            draw(panel, study, kind)
            panel.set(title=f"{study.title}, {kind}", facecolor=GROUNDS[kind])
        row[0].set_ylabel("robust accuracy in %")
    add_legend(figure, first.methods, columns=COLUMNS, hollow=f"within noise of {first.reference.label}", lines=True)
    return figure


def draw(panel: Axes, study: Results, knowledge: str) -> None:
    """Draw what the strongest threats of one kind of attacker leave of each method."""
    for method, look in zip(study.methods, looks_of(study.methods).values(), strict=True):
        strongest = study.strongest(method, knowledge)
        by_eps = {0: study.line(CLEAN, method), **strongest}
        if strongest and knowledge != "clean":
            by_eps[0] = on_attacked_images(by_eps[0], next(iter(strongest.values())))
        for eps, line in by_eps.items():
            panel.vlines(eps, line.low, line.high, color=look.colour, linewidth=1.2)
            panel.plot(eps, line.accuracy, **look.mark(hollow=is_noise(study, line)), zorder=3, clip_on=False)
        accuracies = [line.accuracy for line in by_eps.values()]
        panel.plot(list(by_eps), accuracies, look.line, color=look.colour, linewidth=1.2)
    percent_axis(panel, "y")
    panel.set(xlim=(0, None), xlabel="eps in 1/255")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(**GRID)


def on_attacked_images(clean: Accuracy, attacked: Accuracy) -> Accuracy:
    """Return the clean accuracy, on the images that were attacked if these are fewer."""
    if attacked.n == clean.n:
        return clean
    low, high = wilson(attacked.clean_accuracy, attacked.n)
    return clean._replace(accuracy=attacked.clean_accuracy, low=float(low), high=float(high), n=attacked.n)
