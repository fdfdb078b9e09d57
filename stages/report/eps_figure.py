"""Robust accuracy against eps under the strongest oblivious and adaptive attacks."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.comparison import is_noise
from stages.report.statistics import wilson
from stages.report.style import GRID, as_png, attacker_panels, looks_of, percent_axis
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import CLEAN


@as_png
def eps_figure(studies: list[Results]) -> Figure:
    """Draw a panel for each data set and kind of attacker; lines begin at the clean accuracy on the attacked images."""
    figure, places = attacker_panels(studies, inches=3.2, columns=5, hollow="within noise", lines=True)
    for panel, study, threats in places:
        draw(panel, study, threats[0].knowledge if threats else "")
    return figure


def draw(panel: Axes, study: Results, knowledge: str) -> None:
    """Draw what the strongest threats of one kind of attacker leave of each method."""
    for method, look in zip(study.methods, looks_of(study.methods).values(), strict=True):
        clean, by_eps = study.line(CLEAN, method), study.strongest(method, knowledge)
        by_eps = {0: on_attacked_images(clean, next(iter(by_eps.values()), clean)), **by_eps}
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
