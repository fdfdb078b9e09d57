"""The model card: what the prompts are, what they were tuned against, what they are worth, and what not; Markdown."""

from typing import Any

import pandas as pd

from stages.report.classes import prices
from stages.report.findings import findings
from stages.report.markdown import markdown
from stages.report.subsets import clean_beside, counted, footnote
from stages.report.tables import Accuracy, Results
from stages.report.vocabulary import PROMPTS, Threat

MOST_NAMES = 20  # of classes
HEAD = """
Text features of class names under a context that was tuned on attacked images (AdvPT; refreshed: attacked through the
prompts themselves) and, to compare, on clean ones (CoOp). They classify images with the CLIP whose digest stands here,
and with no other; no weight of it was changed. How to load them with open_clip alone: "Using the prompts
elsewhere" in the README.md of the project that made them.

In the tables: accuracy in %, ± its standard deviation over tuning seeds, in brackets the 95 % Wilson interval for n
test images; under attack the share that is right both clean and attacked. An *oblivious* attacker does not know the
prompts, an *adaptive* one attacks through the very prompt under test.
"""
UNTESTED = "**No adaptive threat was run: nothing here says what the prompts are worth against one who knows them.**"
LIMITS = """## Limits

- **The attacker who knows the prompt decides.** An oblivious row says nothing about somebody who has these files. The
  adaptive rows do, and a stronger attack than theirs can only leave less.
- Attacks are bounded in L∞ at the model's input resolution. Patches, other norms, changes of light or angle, and images
  of another kind than the data set's were not tried.
- The classes are a closed list: an image of anything else gets one of these names, with a probability all the same.
- Nothing was done to calibrate the probabilities.
- The intervals cover the sampling of test images, not another data set.
- Not to be the only protection of anything that matters.
"""
LICENCE = """## Licence

The prompts are made by this project and under its licence, MIT. The images that they were tuned on and the model's
weights have licences of their own: that of each data set stands above, that of the weights with whoever published them.
"""
CITATION = """## Citation

```bibtex
@inproceedings{zhang2024advpt,
  title     = {Adversarial Prompt Tuning for Vision-Language Models},
  author    = {Zhang, Jiaming and Ma, Xingjun and Wang, Xin and Qiu, Lingyu and Wang, Jiaqi and Jiang, Yu-Gang and
               Sang, Jitao},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2024},
  eprint    = {2311.11261},
  archivePrefix = {arXiv}
}
```
"""


def model_card(
    study: str,
    facts: dict[str, Any],
    class_names: list[str],
    made_by: dict[str, dict[str, Any]],
    results: Results,
    threats: list[Threat],
    classes: pd.DataFrame,
) -> str:
    """The whole card of the prompts of one study.

    Args:
        study: The data set's name, or for example `imagenet_to_dtd`.
        facts: Of the data set: sha256, origin, licence, splits.
        class_names: K names.
        made_by: Provenance of the tuned prompts.
        results: Accuracies; the study's are chosen.
        threats: Its threats, in their order.
        classes: Its accuracies by class, see `classes.classes_table`.
    """
    described = description(study, facts, class_names, made_by)
    notes = [footnote(results, study, threats), *findings(results, study, threats), *prices(classes)]
    said = "\n".join(f"- {markdown(note)}" for note in notes if note)
    table = results_lines(results, study, threats)
    warning = "" if any(threat.knowledge == "adaptive" for threat in threats) else f"{UNTESTED}\n\n"
    title = f"# Model card: AdvPT prompts, {markdown(study)}"
    found = f"\n## Results\n\n{table}\n\n{warning}{said}\n"
    return "\n".join([title, HEAD, described, found, LIMITS, LICENCE, CITATION])


def description(study: str, facts: dict[str, Any], class_names: list[str], made_by: dict[str, dict[str, Any]]) -> str:
    """What made the prompts and what they were tuned against, as a table; arguments as for `model_card`."""
    advpt = made_by["advpt"]
    tuning = advpt.get("tuned", advpt)  # of contexts that moved, where they come from
    refreshed = made_by["advpt_refreshed"].get("tuned", made_by["advpt_refreshed"])
    rounds = {key: value for key, value in refreshed["refresh"].items() if key != "tune"}
    lines = {
        "prompts": ", ".join(f"data/prompts/{study}/{prompt}" for prompt in ("advpt", "advpt_refreshed", "coop")),
        "classes": names(class_names),
        "data": f"{facts['origin']}; splits: {facts['splits']}; sha256 {facts['sha256']}",
        "licence of the data": facts["licence"],
        "model": f"{advpt['model']['name']}, {advpt['model']['pretrained'] or 'its own weights'}",
        "its sha256": advpt["model"]["sha256"],
        "tuned on": tuning["dataset"] + (f", the part {tuning['part']} of its classes" if tuning.get("part") else ""),
        "tuned against": values(tuning["attack"]) + "; eps in 1/255 of the pixel range",
        "tuning": values(tuning["tune"]),
        "refreshed": values(rounds) + "; eps in 1/255 of the pixel range",
        "tuning in each round": values(refreshed["tune"]),
    }
    told = "\n".join(f"| {key} | {markdown(value)} |" for key, value in lines.items())
    return f"| | |\n|---|---|\n{told}"


def results_lines(results: Results, study: str, threats: list[Threat]) -> str:
    """The accuracies as a table: threats down, prompts across."""
    titles = ["threat", "its attacker", "n", *PROMPTS.values()]
    rows = [titles, ["---"] * len(titles)]
    for threat in threats:
        found = [results[study, threat.name, prompt] for prompt in PROMPTS]
        attacker = threat.knowledge if threat.attack else ""
        cells = [cell(line, clean_beside(results, line)) for line in found]
        rows.append([markdown(f"{threat.name}: {threat.recipe}"), attacker, counted(results, found), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(line: Accuracy, beside: str) -> str:
    """One accuracy with its spread, its interval and what stands beside it."""
    spread = "" if pd.isna(line.std) else f" ± {100 * line.std:.1f}"
    return f"{100 * line.accuracy:.1f}{spread} ({100 * line.low:.1f}-{100 * line.high:.1f})" + (
        beside and f", {beside}"
    )


def names(class_names: list[str]) -> str:
    """How many classes there are, and the first of their names."""
    more = len(class_names) - MOST_NAMES
    return f"{len(class_names)}: {', '.join(class_names[:MOST_NAMES])}{f' and {more} more' if more > 0 else ''}"


def values(block: dict[str, Any]) -> str:
    """A block of params.yaml on one line."""
    return ", ".join(f"{key} {written(value)}" for key, value in block.items())


def written(value: Any) -> str:
    """One value: numbers short, several joined."""
    if isinstance(value, list):
        return " and ".join(map(written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
