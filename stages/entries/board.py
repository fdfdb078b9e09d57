"""The leaderboard: entries as tables, one for each model, data set, study, norm, eps and version of the suite."""

import hashlib
from base64 import b64encode
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from adjustText import adjust_text
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from stages.entries.record import PROMPTS, Record, parts_of_name, refusing
from stages.entries.rescore import rescore
from stages.evaluation.study import study_title
from stages.report import wording
from stages.report.page import TEMPLATES
from stages.report.style import GRID, LABELS, as_png, drawable, percent_axis
from stages.runtime.params import Runtime

INCHES, PER_ROW = 4.1, 2  # of a panel of the figure, panels beside each other
SIGMA = 0.1  # noise level of the certified bounds, the same for every method
Certified = dict[str, str]  # sha256 of a file of prompts -> bound in words


class Row(NamedTuple):
    """One method at one eps.

    Attributes:
        entry: Name of the entry's folder.
        record: The entry.
        result: Its results at the eps.
        certified: Lower bound, in words; empty if there is none.
    """

    entry: str
    record: Record
    result: Record
    certified: str

    @property
    def images(self) -> int:
        """Number of images."""
        return self.record["data"]["n"]

    @property
    def gap(self) -> float | None:
        """Accuracy that the method loses once the attacker knows it; None without an oblivious threat."""
        oblivious = self.result["oblivious"]
        return oblivious and oblivious["accuracy"] - self.result["adaptive"]["accuracy"]

    @property
    def attack(self) -> Record:
        """Settings of the suite; of several, those with the most steps."""
        attacks = [threat["attack"] for threat in self.result["threats"].values()]
        return max((one for one in attacks if one["method"] == "suite"), key=lambda one: one["steps"])

    @property
    def budget(self) -> str:
        """How many steps, restarts, wrong classes, draws and queries the suite had, in words."""
        words = [f"{self.attack['steps']} steps"]
        for key, word in (("restarts", "restart"), ("targets", "target"), ("samples", "draw"), ("queries", "queries")):
            if (count := self.attack.get(key, 0)) > (key == "samples"):
                words.append(f"{count} {word}{'s' * (count > 1 and word != 'queries')}")
        return ", ".join(words)

    @property
    def table(self) -> tuple[Any, ...]:
        """Return what rows of one table share, the newest suite first."""
        data, model = self.record["data"], self.record["model"]
        title = study_title(data["dataset"], data["study"])
        return (
            -self.record["suite"],
            " + ".join(parts_of_name(model)),
            model["sha256"],
            model.get("visual_sha256") or "",
            title if data["seed"] == 0 else f"{title}, draw {data['seed']}",
            self.result["norm"],
            self.result["eps"],
        )


class Table(NamedTuple):
    """Rows that may be compared, the most robust first; those of fewer images than others come last.

    Attributes:
        model: Name of the model.
        data: Data set and study, and the seed of the draw if it is another one than 0.
        norm: Of the perturbation.
        eps: In 1/255.
        suite: Version of the suite.
        is_current: Whether no entry has a newer suite.
        rows: The methods.
    """

    model: str
    data: str
    norm: str
    eps: float
    suite: int
    is_current: bool
    rows: list[Row]

    @property
    def steps(self) -> int:
        """The largest number of steps of a row's suite."""
        return max(row.attack["steps"] for row in self.rows)

    @property
    def radius(self) -> str:
        """The eps, as filters and headings show it."""
        return f"{self.eps:g}/255"

    @property
    def images(self) -> int:
        """The largest number of images of a row."""
        return max(row.images for row in self.rows)

    @property
    def title(self) -> str:
        """The table's heading."""
        return f"{self.model}, {self.data}, {'L∞' if self.norm == 'linf' else self.norm}, eps {self.radius}"


def read_rows(folder: Path, certified: Certified, *, runtime: Runtime) -> list[Row]:
    """Rescore all entries of a folder; a ValueError names one that is bad or cannot be checked here."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; one with a folder for each entry is needed")
    rows = []
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        with refusing(path):
            record = rescore(path, runtime=runtime)
        bound = certified.get(record["files"][PROMPTS], "")
        rows += [Row(path.name, record, result, bound) for result in record["results"]]
    if not rows:
        raise ValueError(f"{folder}: no entry there; `python -m stages.submit --all` makes them")
    return rows


def tables_of(rows: list[Row]) -> list[Table]:
    """Group rows that may be compared; the tables of the newest suite come first."""
    newest = max(row.record["suite"] for row in rows)
    tables = []
    for key, group in groupby(sorted(rows, key=lambda row: (row.table, row.entry)), lambda row: row.table):
        suite, model, _, _, title, norm, eps = key
        members = list(group)
        most = max(row.images for row in members)
        best_first = sorted(members, key=lambda row: (row.images < most, -row.result["adaptive"]["accuracy"]))
        tables.append(Table(model, title, norm, eps, -suite, -suite == newest, best_first))
    return tables


def newest(tables: list[Table]) -> list[Table]:
    """Return the tables that none of a newer suite, but otherwise of the same kind, replaces."""
    found: dict[tuple[Any, ...], Table] = {}
    for table in tables:  # newest first
        found.setdefault(table.rows[0].table[1:], table)
    return list(found.values())


def certified_bounds(found: pd.DataFrame) -> Certified:
    """Return the certified accuracies of reports/certified.csv at SIGMA, in words, without radii at which all are 0."""
    found = found[found["sigma"] == SIGMA]
    radii = [name for name in found.columns if name.startswith("L2 ") and name != "L2 0" and found[name].any()]
    return {
        line["prompts_sha256"]: "; ".join(f"{radius}: {wording.percent(line[radius])}" for radius in radii)
        for _, line in found.iterrows()
    }


def board_csv(tables: list[Table]) -> str:
    """Return the board as CSV: a line for each row of each table."""
    lines = []
    for table in tables:
        for row in table.rows:
            line: Record = {name: getattr(table, name) for name in ("model", "data", "norm", "eps", "suite")}
            line |= {"method": row.record["method"]["name"], "label": row.record["method"]["label"]}
            for column in ("clean", "oblivious", "adaptive"):
                accuracy = row.result[column] or {}
                line |= {column: accuracy.get("accuracy"), f"{column}_low": accuracy.get("low")}
                line |= {f"{column}_high": accuracy.get("high")}
            line |= {"gap": None if row.gap is None else round(row.gap, 6), "n": row.record["data"]["n"]}
            line |= {"attack": row.budget}
            line |= {"cost": row.record["method"]["cost"], "certified": row.certified, "date": row.record["date"]}
            lines.append(line | {"preset": row.record["method"]["preset"], "entry": row.entry})
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


@as_png
def front_figure(tables: list[Table]) -> Figure:
    """Draw a panel for each table: clean accuracy against adaptive worst, crosses 95 % intervals, the front joined."""
    height = -(-len(tables) // PER_ROW)
    figure = Figure((INCHES * PER_ROW, INCHES * height), layout="constrained")
    panels = figure.subplots(height, PER_ROW, squeeze=False).flat
    names = []
    worst = min(row.result["clean"]["low"] for table in tables for row in table.rows)
    for panel, table in zip(panels, tables, strict=False):
        points = [(row.result["clean"], row.result["adaptive"]) for row in table.rows]
        compared = [point for row, point in zip(table.rows, points, strict=True) if row.images == table.images]
        front = front_of([(clean["accuracy"], adaptive["accuracy"]) for clean, adaptive in compared])
        panel.plot(*zip(*front, strict=True), color="#b8bfc7", linewidth=1.2, zorder=1)
        for clean, adaptive in points:
            panel.hlines(adaptive["accuracy"], clean["low"], clean["high"], color="#0072B2", linewidth=0.8)
            panel.vlines(clean["accuracy"], adaptive["low"], adaptive["high"], color="#0072B2", linewidth=0.8)
            panel.plot(clean["accuracy"], adaptive["accuracy"], "o", color="#0072B2", markersize=4.5)
        percent_axis(panel, "x", "y")
        panel.set_xlim(worst // 0.1 / 10, 1)
        panel.set(xlabel="clean accuracy in %", ylabel="adaptive worst in %")
        panel.set_title(drawable(table.title + ("" if table.is_current else f", suite {table.suite}")), fontsize=8)
        panel.grid(**GRID)
        labels = [
            panel.text(clean["accuracy"] - 0.02, adaptive["accuracy"], drawable(row.record["method"]["label"])[:30],
                       fontsize=7, ha="right")
            for row, (clean, adaptive) in zip(table.rows, points, strict=True)
        ]  # fmt: skip
        names.append((panel, labels, points))
    for panel in list(figure.axes)[len(tables) :]:
        panel.remove()
    figure.draw_without_rendering()  # adjustText needs to know where the marks are
    for panel, labels, points in names:
        adjust_text(
            labels, *([one["accuracy"] for one in axis] for axis in zip(*points, strict=True)), ax=panel, **LABELS
        )
    return figure


def front_of(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both accuracies, by ascending first one."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def board_html(tables: list[Table], picture: bytes) -> str:
    """Return the page: tables, the figure, and filters in a script whose digest the page's policy names."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent / "templates", TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    script = (Path(__file__).parent / "templates/filters.js").read_text(encoding="utf-8")
    return environment.get_template("leaderboard.html.j2").render(
        tables=tables,
        picture=b64encode(picture).decode(),
        script=Markup(script),  # noqa: S704 - a file of ours
        script_digest=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        percent=wording.percent,
        sigma=SIGMA,
    )
