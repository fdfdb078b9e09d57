"""fetch: name -> data/raw/<dataset>, the raw images, checked; data/index and data/cards, what to know of them.

A name that is not in the catalogue is a folder of the user's own images, data/raw/<dataset>, which is adopted as it is.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from stages.banks.files import explaining, replacing, require_writable
from stages.carding import path_of_card, write_card
from stages.command import command, progress
from stages.datasets.card import Card
from stages.datasets.catalogue import source_of
from stages.datasets.checks import check_listing
from stages.datasets.decode import read_content
from stages.datasets.embedded import content_of
from stages.datasets.index import index_of
from stages.datasets.listing import Listing, Source
from stages.indexing import path_of_index, write_index
from stages.params import load_params


def main(dataset: str) -> str:
    """Gets the images of a data set if they are not there, lists them, checks the list."""
    params = load_params()
    raw, out, card_path = Path(f"data/raw/{dataset}"), path_of_index(dataset), path_of_card(dataset)
    require_writable(out, card_path)
    source = source_of(dataset, raw, held_out=params.fetch.held_out)
    listing = get(source, raw)
    ids = [item.id for item in (*listing.train, *listing.test)]
    digest = digest_of(raw, source)
    with ThreadPoolExecutor(params.runtime.workers_on("cpu")) as pool:
        digests = list(progress(pool.map(digest, ids), what="fetch", total=len(ids)))
    index = index_of(listing, digests)
    notes = check_listing(
        index.ids,
        index.splits,
        index.labels,
        index.digests,
        classes=len(listing.class_names),
        overlap_limit=params.fetch.overlap_limit,
        strict=source.own,
    )
    card = card_of(
        name=dataset,
        class_names=listing.class_names,
        template=source.template,
        sha256=index.sha256,
        origin=source.origin,
        licence=source.licence,
        splits=listing.splits,
        packed=source.packed,
        notes=notes,
    )
    with replacing(out) as index_file, replacing(card_path) as card_file:
        write_index(index_file, index, dataset=dataset)
        write_card(card_file, card)
    told = "".join(f"; {note}" for note in notes)
    return (
        f"wrote {out}, {len(listing.train)} + {len(listing.test)} images, {len(listing.class_names)} classes, "
        f"splits: {listing.splits}{told}"
    )


def card_of(**facts: object) -> Card:
    """A card; what is wrong with the facts is an error that names the data set."""
    try:
        return Card(**facts)
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise ValueError(f"{facts['name']}: {faults}") from error


def get(source: Source, raw: Path) -> Listing:
    """Lists the images that lie in the raw folder; of one that holds no file but CoOp's split, after a download."""
    if not any(path.is_file() and not path.name.startswith("split_zhou_") for path in raw.rglob("*")):
        with explaining(raw):
            source.download(raw)
    return source.list_images(raw)


def digest_of(raw: Path, source: Source) -> Callable[[str], bytes]:
    """Maps an id to the sha256 of what the image is on disk."""
    if source.packed:
        content = content_of(raw)
        return lambda id: hashlib.sha256(content(id)).digest()
    return lambda id: hashlib.sha256(read_content(raw, id)).digest()


if __name__ == "__main__":
    command(main)
