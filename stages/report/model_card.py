"""The model card: what the prompts are, what they were tuned against, how well they do, and their limits; Markdown."""

import re
from html import escape
from string import punctuation

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.report.facts import flat, values
from stages.report.inputs import Study
from stages.report.page import TEMPLATES
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import Method
from stages.report.wording import footnote, percent, size, spread
from stages.runtime.cli import visible
from stages.storage.layout import method_folder

MOST_NAMES = 20  # of classes
PLAIN = frozenset(" -,;:./()%+='\"@?^")  # what of the punctuation means nothing in the middle of a line
ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)  # of which GitHub makes a link unasked


def model_card(study: Study, results: Results, sentences: list[str]) -> str:
    """Return the whole card of the prompts of one study.

    Args:
        study: The study.
        results: Its accuracies.
        sentences: What they show; plain text.
    """
    environment = Environment(  # noqa: S701 - Markdown, not HTML: every value passes through `finalize`
        loader=FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: markdown(str(value)),  # the autoescape of Markdown
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2").render(
        results=results,
        classes=listed(study.class_names),
        card=study.card,
        model=study.provenances[results.reference.name]["model"],
        methods=[about(study, method) for method in results.methods],
        lines=[
            (threat, size(results, line), method, line)
            for threat in results.threats
            for method, line in zip(results.methods, results.of_threat(threat), strict=True)
        ],
        accuracy=accuracy,
        percent=percent,
        adaptive=any(threat.knowledge == "adaptive" for threat in results.threats),
        sentences=[sentence for sentence in (footnote(results), *sentences) if sentence],
    )


def about(study: Study, method: Method) -> dict[str, str]:
    """Return what the card says of a method; of contexts that moved, of those that they come from."""
    found = study.provenances[method.name]
    source = found.get("tuned", found)
    part = source.get("study", "all")
    return {
        "label": method.label,
        "folder": str(method_folder(study.dataset, study.name, method.group, method.name)),
        "tuned_on": source["dataset"] + (f", {part} classes" if part != "all" else ""),
        "parameters": values(flat(source["block"])),
        "attack": values(source.get("attack", {})),
    }


def accuracy(line: Accuracy) -> str:
    return f"{spread(line.accuracy, line.std)} ({percent(line.low)}-{percent(line.high)})"


def listed(class_names: list[str]) -> str:
    """Return the number of classes, and the first of their names."""
    more = len(class_names) - MOST_NAMES
    return f"{len(class_names)}: {', '.join(class_names[:MOST_NAMES])}{f' and {more} more' if more > 0 else ''}"


def markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line.

    A backslash goes before each sign that could mean something, `&`, `<` and `>` become HTML entities, and whatever
    cannot be seen is written as Python writes it.
    """
    signs = {sign: escape(sign) if sign in "&<>" else f"\\{sign}" for sign in punctuation if sign not in PLAIN}
    return ADDRESS.sub(r"\\\g<0>", "".join(signs.get(sign, visible(sign)) for sign in text))
