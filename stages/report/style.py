"""How figures look, and how they become bytes that are the same every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

# Okabe and Ito's colours, told apart by every kind of colour vision; the markers differ as well
COLOURS = {"hand": "#555555", "coop": "#E69F00", "advpt": "#0072B2", "advpt_refreshed": "#009E73"}
MARKERS = {"hand": "o", "coop": "s", "advpt": "D", "advpt_refreshed": "^"}
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
    with matplotlib.style.context(["default", {**SETTINGS, "font.family": installed_fonts()}]):
        yield


def installed_fonts() -> list[str]:
    """Return the font families to draw with, the preferred ones first."""
    installed = fontManager.get_font_names()
    return [FONT, *(name for name in FALLBACK_FONTS if name in installed)]


def png(figure: Figure) -> bytes:
    """The figure as PNG, with no date and no version inside."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def short(name: str) -> str:
    """A class name, or a word, that a figure can draw and that fits on an axis."""
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
    """Whether one of these font families has a letter."""
    return any(get_font(findfont(FontProperties(family=name))).get_char_index(ord(letter)) for name in fonts)
