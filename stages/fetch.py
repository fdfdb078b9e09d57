"""fetch: name -> data/raw/<dataset>, the raw files, checked; data/cards/<dataset>.json, what to know of them."""

import shutil
from pathlib import Path

from stages.banks.files import replacing
from stages.banks.table import read_provenance
from stages.command import command
from stages.datasets.card import Card, write_card
from stages.datasets.catalogue import check_files, entry
from stages.params import load_params


def main(dataset: str) -> str:
    """Copies the embedded files of a data set after comparing their digests."""
    load_params()
    known = entry(dataset)
    digest = check_files(known)
    raw = Path(f"data/raw/{dataset}")
    class_names = read_provenance(known.folder / "train.parquet")["class_names"]
    card = Card(
        name=dataset,
        class_names=class_names,
        template=known.template,
        sha256=digest,
        source=known.source,
        licence=known.licence,
    )
    with replacing(raw) as folder, replacing(Path(f"data/cards/{dataset}.json")) as file:
        folder.mkdir()
        for name in known.sha256:
            shutil.copy(known.folder / name, folder / name)
        write_card(file, card)
    return f"wrote {raw}, {len(known.sha256)} files, {len(class_names)} classes"


if __name__ == "__main__":
    command(main)
