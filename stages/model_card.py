"""model_card: the predictions of one study -> its model card. No tensor library."""

from stages.report.classes import classes_table
from stages.report.inputs import read_study
from stages.report.model_card import model_card
from stages.report.tables import results_of
from stages.report.verdict import verdict
from stages.report.vocabulary import CLEAN, headline_threat
from stages.runtime.cli import command
from stages.runtime.params import load_params
from stages.storage.files import replacing, require_writable
from stages.storage.layout import model_card_file


def main(dataset: str, study: str) -> str:
    """Write the card of the methods of a study."""
    params = load_params()
    out = model_card_file(dataset, study)
    require_writable(out)
    found = read_study(dataset, study, params)
    results = results_of(found.title, found.predictions, found.methods, found.threats)
    classes = classes_table(found.predictions, found.class_names, found.methods, [CLEAN])
    headline = headline_threat(found.threats, found.bank_eps)
    sentences = [f"Compared with {results.reference.label}: {one}" for one in verdict([results], headline, classes)]
    card = model_card(found, results, sentences)
    with replacing(out) as temporary:
        temporary.write_text(card, encoding="utf-8")
    accuracies = ", ".join(f"{line.method} {line.accuracy:.3f}" for line in results.of_threat(CLEAN))
    return f"wrote {out}, accuracy on clean images: {accuracies}"


if __name__ == "__main__":
    command(main)
