"""model_card: the rows of one study -> data/prompts/<study>/model_card.md, beside its prompts. No tensor library."""

from pathlib import Path

from stages.report.classes import classes_table
from stages.report.findings import headline
from stages.report.inputs import read_study
from stages.report.model_card import model_card
from stages.report.tables import results_of
from stages.report.threats import threats_of
from stages.report.vocabulary import CLEAN
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.files import replacing, require_writable


def main(dataset: str, study: str | None = None) -> str:
    """Writes the card of the tuned prompts of a study, by default a data set's own; the study is as in `evaluate`."""
    params = load_params()
    name = study or dataset
    out = Path(f"data/prompts/{name}/model_card.md")
    require_writable(out)
    threats = threats_of(params.oblivious, params.adaptive, params.defences if name == dataset else {})
    found = read_study(name, dataset, threats, params)
    results = results_of({name: found.rows}, threats)
    classes = classes_table(found.rows, found.class_names, [CLEAN])
    card = model_card(name, found.card.model_dump(), found.class_names, found.prompts, results, threats, classes)
    with replacing(out) as temporary:
        temporary.write_text(card, encoding="utf-8")
    return f"wrote {out}, {headline(results, name, [CLEAN])}"


if __name__ == "__main__":
    command(main)
