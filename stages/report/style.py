"""Style of the figures, and their export as reproducible bytes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from io import BytesIO
from typing import Any, NamedTuple, ParamSpec

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from stages.report.tables import Results
from stages.report.vocabulary import Method, Threat

# Grey for the reference, then Okabe and Ito's colours, told apart by every kind of colour vision; with the markers, 77
# methods look different
COLOURS = ("#555555", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h")
LINES = ("-", "--", "-", "-.", ":")
GROUNDS = {"clean": "#ffffff", "oblivious": "#f1f5f9", "adaptive": "#fdf1e7"}
FONT = "DejaVu Sans"  # comes with matplotlib
FALLBACK_FONTS = (  # for scripts that it lacks; the first that is installed and has a letter draws it
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
    "Hiragino Sans GB", "Hiragino Sans", "Apple SD Gothic Neo", "Noto Sans Arabic", "Noto Sans Hebrew",
    "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Telugu", "Noto Sans Thai",
    "Noto Sans Ethiopic", "Nirmala UI", "Leelawadee UI", "Noto Emoji", "Symbola", "Arial Unicode MS", "Unifont",
)  # fmt: skip
SETTINGS = {
    "font.size": 9,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,  # a class name may hold a dollar sign
    "savefig.dpi": 144,
}
GRID: dict[str, Any] = {"color": "#d5d9de", "linewidth": 0.6}
PERCENT_TICKS = [i / 5 for i in range(6)], [str(20 * i) for i in range(6)]  # places on an axis of fractions, labels
LONGEST_NAME = 18  # characters
LABELS: dict[str, Any] = {  # of `adjust_text`: steps instead of seconds, for the same picture on every machine
    "time_lim": None,
    "iter_lim": 100,
    "prevent_crossings": False,  # slow
    "arrowprops": {"arrowstyle": "-", "linewidth": 0.6, "color": "#777777"},
}
P = ParamSpec("P")


class Look(NamedTuple):
    """Colour and marks of a method in figures."""

    colour: str
    marker: str
    line: str

    def mark(self, *, hollow: bool = False) -> dict[str, Any]:
        """Return the arguments of `plot` for a mark."""
        face = "white" if hollow else self.colour
        about = {"marker": self.marker, "markersize": 4.5, "markerfacecolor": face, "linestyle": "none"}
        return {"color": self.colour, **about}


def looks_of(methods: list[Method]) -> dict[str, Look]:
    """Return how each method is drawn, by its name: whatever its place in the list gives it."""
    cycles = (COLOURS, MARKERS, LINES)
    return {method.name: Look(*(cycle[place % len(cycle)] for cycle in cycles)) for place, method in enumerate(methods)}


def add_legend(
    figure: FigureBase, methods: list[Method], *, columns: int, hollow: str = "", lines: bool = False
) -> None:
    """Write a legend of methods above a figure; `hollow` is what a hollow mark means, if there are any."""
    entries = [
        Line2D([], [], **look.mark() | ({"linestyle": look.line} if lines else {}), label=method.label)
        for method, look in zip(methods, looks_of(methods).values(), strict=True)
    ]
    if hollow:
        entries.append(Line2D([], [], **looks_of(methods)[methods[0].name].mark(hollow=True), label=hollow))
    figure.legend(handles=entries, loc="outside upper right", ncols=columns)


def attacker_panels(
    studies: list[Results], *, inches: float, columns: int, hollow: str, lines: bool = False
) -> tuple[Figure, list[tuple[Axes, Results, list[Threat]]]]:
    """Return a figure with a panel for each data set and kind of attacker, and its panels with the threats of each.

    Without any attack there is one panel for `clean`, and no threats.
    """
    first = studies[0]
    kinds = list(dict.fromkeys(threat.knowledge for threat in first.threats if threat.attack)) or ["clean"]
    figure = Figure((8.4, inches * len(studies) + legend_inches(first.methods, columns)), layout="constrained")
    panels = figure.subplots(len(studies), len(kinds), squeeze=False, sharey=True)
    places = []
    for row, study in zip(panels, studies, strict=True):
        row[0].set_ylabel("robust accuracy in %")
        for panel, kind in zip(row, kinds, strict=True):
            panel.set(title=f"{study.title}, {kind}", facecolor=GROUNDS[kind])
            places.append((panel, study, [one for one in study.threats if one.attack and one.knowledge == kind]))
    add_legend(figure, first.methods, columns=columns, hollow=f"{hollow} of {first.reference.label}", lines=lines)
    return figure, places


def legend_inches(methods: list[Method], columns: int) -> float:
    return 0.2 * -(-(len(methods) + 1) // columns) + 0.1


def percent_axis(panel: Axes, *axes: str) -> None:
    """Let axes of fractions, `x` or `y`, go from 0 to 100 %."""
    for axis in axes:
        panel.set(**{f"{axis}lim": (0, 1)})
        getattr(panel, f"set_{axis}ticks")(*PERCENT_TICKS)


def heat_map(panel: Axes, values: np.ndarray, names: list[str], *, low: float, high: float, size: float) -> AxesImage:
    """Draw a matrix (K, K) with the names of its lines and columns."""
    for axis, rotation in ((panel.xaxis, 90), (panel.yaxis, 0)):
        axis.set_ticks(range(len(names)), [short(name) for name in names], rotation=rotation, fontsize=size)
    return panel.imshow(values, cmap="Blues", vmin=low, vmax=high)


def styled() -> AbstractContextManager[None]:
    """Draw with these settings alone, whatever the user's own are."""
    return matplotlib.style.context(["default", {**SETTINGS, "font.family": installed_fonts()}])


def as_png(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Let a function that draws a figure return its PNG, in the style of the report."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
        with styled():
            return png(draw(*args, **kwargs))

    return drawn


@as_png
def empty_figure(reason: str) -> Figure:
    """Say why there is nothing to draw, for a figure that the graph expects whatever the methods are."""
    figure = Figure(figsize=(9.6, 0.4))
    figure.text(0.5, 0.5, reason, ha="center", va="center")
    return figure


def png(figure: Figure) -> bytes:
    """Return the figure as PNG, with no date and no version inside."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def installed_fonts() -> list[str]:
    """Return the font families to draw with, the preferred ones first."""
    installed = fontManager.get_font_names()
    return [FONT, *(name for name in FALLBACK_FONTS if name in installed)]


def short(name: str) -> str:
    """Return a class name, or a word, that a figure can draw and that fits on an axis."""
    name = drawable(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def drawable(text: str) -> str:
    """Return a text on one line, in letters that some font has; others are replaced by their number, as U+1F984."""
    fonts = tuple(installed_fonts())
    return "".join(
        letter if letter.isprintable() and is_in_a_font(letter, fonts) else f"U+{ord(letter):04X}" for letter in text
    )


@cache
def is_in_a_font(letter: str, fonts: tuple[str, ...]) -> bool:
    return any(get_font(findfont(FontProperties(family=name))).get_char_index(ord(letter)) for name in fonts)
