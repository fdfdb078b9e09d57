"""How figures look, and how they become bytes that are the same every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import matplotlib.style
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by every kind of colour vision; the markers differ as well
COLOURS = {"hand": "#555555", "coop": "#E69F00", "advpt": "#0072B2", "advpt_refreshed": "#009E73"}
MARKERS = {"hand": "o", "coop": "s", "advpt": "D", "advpt_refreshed": "^"}
GROUNDS = {"clean": "#ffffff", "oblivious": "#f1f5f9", "adaptive": "#fdf1e7"}
SETTINGS = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,  # a class name may hold a dollar sign
    "savefig.dpi": 144,
}
GRID = {"color": "#d5d9de", "linewidth": 0.6}
PERCENT_TICKS = [i / 5 for i in range(6)], [str(20 * i) for i in range(6)]  # places on an axis of fractions, labels
LONGEST_NAME = 18  # characters


@contextmanager
def styled() -> Iterator[None]:
    """Draws with these settings alone, whatever the user's own are."""
    with matplotlib.style.context(["default", SETTINGS]):
        yield


def png(figure: Figure) -> bytes:
    """The figure as PNG, with no date and no version inside."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def short(name: str) -> str:
    """A class name that fits on an axis."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
