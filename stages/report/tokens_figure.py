"""The word nearest to each context vector, its distance, and that of the word nearest to a random vector."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.style import COLOURS, GRID, MARKERS, png, short, styled
from stages.report.vocabulary import PROMPTS

TUNED = ("coop", "advpt", "advpt_refreshed")
INCHES_PER_VECTOR = 0.19


def words_figure(tables: dict[str, pd.DataFrame]) -> bytes:
    """One line of panels per data set, one for each tuned prompt, the first tuning seed, of several contexts the first.

    Args:
        tables: For each data set, as `wording.words_table` makes it.

    Returns:
        A PNG. A mark is the Euclidean distance from a vector to its nearest word; 0 would be the word itself.
    """
    shown = {dataset: shown_of(table) for dataset, table in tables.items()}
    heights = [INCHES_PER_VECTOR * table["position"].max() + 0.9 for table in shown.values()]
    with styled():
        figure = Figure(figsize=(11.6, sum(heights) + 0.4), layout="constrained")
        panels = figure.subplots(len(shown), len(TUNED), squeeze=False, sharex="row", height_ratios=heights)
        for row, (dataset, table) in zip(panels, shown.items(), strict=True):
            for panel, prompt in zip(row, TUNED, strict=True):
                lines = table[table["prompt"] == prompt]
                draw_words(panel, lines, prompt)
                panel.set_title(title_of(dataset, prompt, lines["class"].iloc[0]))
            row[0].set_ylabel("context vector")
            row[0].set_xlim(0)
            row[0].xaxis.set_major_locator(MaxNLocator(4))
        marks = {name: mark for panel in row for mark, name in zip(*panel.get_legend_handles_labels(), strict=True)}
        figure.legend(marks.values(), marks.keys(), loc="outside upper right", ncols=4)
        return png(figure)


def shown_of(table: pd.DataFrame) -> pd.DataFrame:
    """The lines that are drawn: nearest words by distance, of the first tuning seed and each prompt's first context."""
    nearest = (table["measure"] == "euclidean") & (table["rank"] == 1) & (table["seed"] == 0)
    first = table.groupby("prompt")["class"].transform("first")  # empty where the context is shared
    return table[nearest & (table["class"] == first)]


def title_of(dataset: str, prompt: str, class_name: str) -> str:
    """What a panel shows."""
    return f"{dataset}: {PROMPTS[prompt]}" + (f"\nthe context of “{short(class_name)}”" if class_name else "")


def draw_words(panel: Axes, lines: pd.DataFrame, prompt: str) -> None:
    """Draws the vectors of one prompt from top to bottom."""
    colour = COLOURS[prompt]
    look = {"color": colour, "linestyle": "none", "clip_on": False}
    panel.plot(lines["random"], lines["position"], "|k", markersize=8, label="a random vector of the same size")
    panel.plot(lines["value"], lines["position"], MARKERS[prompt], markersize=4.5, label=PROMPTS[prompt], **look)
    names = [
        f"{at}  “{short(word)}”, “{short(start)}”"
        for at, word, start in lines[["position", "word", "start_word"]].itertuples(index=False)
    ]
    panel.set_yticks(lines["position"], names, fontsize=8)
    panel.set_ylim(lines["position"].max() + 0.6, 0.4)
    panel.set_xlabel("Euclidean distance")
    panel.grid(axis="x", **GRID)
    panel.set_axisbelow(True)
