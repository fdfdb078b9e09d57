"""Robust accuracy against eps, for each method under each kind of attack."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.comparison import is_noise
from stages.report.statistics import wilson
from stages.report.style import GRID, GROUNDS, legend_inches, legend_marks, looks_of, percent_axis, png, styled
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import CLEAN, Threat

ACROSS = 3  # panels beside each other
LEGEND_COLUMNS = 5
Families = dict[tuple[str, str], list[Threat]]  # what the attacker knows, method -> threats


def eps_figure(studies: list[Results]) -> bytes:
    """Draw one panel per data set and kind of attack.

    Returns:
        A PNG. Lines begin at clean accuracy and join the strongest attacks of each eps; bars: 95 % Wilson intervals.
    """
    kinds, methods = families(studies[0].threats), studies[0].methods
    columns = min(len(kinds), ACROSS)
    lines = len(studies) * -(-len(kinds) // columns)
    with styled():
        height = 2.7 * lines + legend_inches(methods, LEGEND_COLUMNS)
        figure = Figure(figsize=(8.4, height), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for block, study in zip(panels.reshape(len(studies), -1), studies, strict=True):
            for panel in block[len(kinds) :]:
                panel.set_axis_off()
            for panel, ((knowledge, attack), family) in zip(block, kinds.items(), strict=False):
                draw(panel, study, family)
                panel.set(title=f"{study.title}: {attack} ({knowledge})", facecolor=GROUNDS[knowledge])
        for row in panels:
            row[0].set_ylabel("robust accuracy in %")
        entries = legend_marks(methods, hollow=f"within noise of {studies[0].reference.label}", lines=True)
        figure.legend(handles=entries, loc="outside upper left", ncols=LEGEND_COLUMNS)
        return png(figure)


def families(threats: list[Threat]) -> Families:
    """Return the threats of each kind, in ascending order of eps; without any, `clean` alone."""
    found: Families = {}
    for threat in threats:
        if threat.attack:
            found.setdefault((threat.knowledge, threat.attack["method"].replace("_", " ")), []).append(threat)
    return {kind: sorted(family, key=lambda one: one.eps) for kind, family in found.items()} or {
        ("clean", "no attack"): []
    }


def draw(panel: Axes, study: Results, family: list[Threat]) -> None:
    """Draw one kind of attack, beginning at the clean images."""
    for method, look in zip(study.methods, looks_of(study.methods).values(), strict=True):
        lowest: dict[float, float] = {}
        for threat in [CLEAN, *family]:
            line = study.line(threat, method)
            if threat is CLEAN and family:
                line = on_attacked_images(line, study.line(family[0], method))
            panel.vlines(threat.eps, line.low, line.high, color=look.colour, linewidth=1.2)
            mark = look.mark(hollow=is_noise(study, threat, method))
            panel.plot(threat.eps, line.accuracy, **mark, zorder=3, clip_on=False)
            lowest[threat.eps] = min(line.accuracy, lowest.get(threat.eps, 1))
        panel.plot(list(lowest), list(lowest.values()), look.line, color=look.colour, linewidth=1.2)
    percent_axis(panel, "y")
    panel.set(xlim=(0, None), xlabel="eps in 1/255")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(**GRID)


def on_attacked_images(clean: Accuracy, attacked: Accuracy) -> Accuracy:
    """Return the clean accuracy, on the images that were attacked if these are fewer."""
    if attacked.n == clean.n:
        return clean
    low, high = wilson(attacked.clean_accuracy, attacked.n)
    return clean._replace(accuracy=attacked.clean_accuracy, low=low, high=high, n=attacked.n)
