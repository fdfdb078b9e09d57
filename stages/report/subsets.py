"""Threats that attack some of the test images: how they are marked, and which clean accuracy they are held against."""

from collections.abc import Iterable

from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import Threat

MARK = "†"
MEANING = f"{MARK} of a class-balanced draw of the test images; n and clean accuracy stand in the table of each study."


def is_subset(results: Results, line: Accuracy) -> bool:
    """Whether another threat of the data set judges more images."""
    return line.n < most_images(results, line.dataset)


def most_images(results: Results, dataset: str) -> int:
    """Return how many test images a data set has."""
    return max(line.n for key, line in results.items() if key[0] == dataset)


def counted(results: Results, lines: Iterable[Accuracy]) -> str:
    """Return the number of images of one threat, marked if it is a subset."""
    counts = {line.n: MARK if is_subset(results, line) else "" for line in lines}
    return "/".join(f"{n}{mark}" for n, mark in counts.items())


def mark_of(results: Results, studies: Iterable[str], threat: Threat) -> str:
    """Return the mark if a threat attacks a subset in one of the studies, else nothing."""
    lines = (line for line in results.values() if line.dataset in studies and line.threat == threat.name)
    return MARK if any(is_subset(results, line) for line in lines) else ""


def clean_beside(results: Results, line: Accuracy) -> str:
    """Return the clean accuracy on the images of a subset, in percent; empty for a threat that attacks all images."""
    return f"clean {100 * line.clean_accuracy:.1f}" if is_subset(results, line) else ""


def footnote(results: Results, dataset: str, threats: list[Threat]) -> str:
    """Explain the mark, as plain text; empty if no threat is marked."""
    lines = [line for line in results.values() if line.dataset == dataset]
    shown = {threat.name for threat in threats}
    counts = sorted({line.n for line in lines if line.threat in shown and is_subset(results, line)})
    if not counts:
        return ""
    some = " or ".join(map(str, counts))
    return (
        f"{MARK} {some} of {most_images(results, dataset)} test images, a class-balanced draw; “clean” is the accuracy "
        "on these images without attack, of the same prompts and tuning seeds."
    )
