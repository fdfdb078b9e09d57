"""fetch: name -> data/raw/<dataset>, the raw images, checked; data/index and data/cards, what to know of them.

A name that is not in the catalogue is a folder of the user's own images, data/raw/<dataset>, which is adopted as it is.
DVC does not cache the images; an experiment outside the workspace uses those of the workspace through a link.
"""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from pydantic import ValidationError

from stages.datasets.catalogue import CATALOGUE, source_of
from stages.datasets.checks import check_index
from stages.datasets.decode import decode, path_of, read_content
from stages.datasets.embedded import content_of
from stages.datasets.index import index_of, write_index
from stages.datasets.listing import Listing, Source
from stages.datasets.places import collecting, files_below, names_passed_over, shortened
from stages.runtime.cli import command, progress
from stages.runtime.params import load_params
from stages.storage.card import Card, write_card
from stages.storage.files import explaining, remove, replacing, require_writable
from stages.storage.layout import card_file, index_file, raw_folder


def main(dataset: str) -> str:
    """Get the images of a data set if they are not there, list them, check each of them and the list."""
    params = load_params()
    raw, out, card_path = raw_folder(dataset), index_file(dataset), card_file(dataset)
    require_writable(out, card_path)
    link_to_workspace(raw)
    source = source_of(dataset, raw, held_out=params.fetch.held_out)
    listing = get(source, raw)
    faults = list(listing.faults)
    with collecting(faults):
        card = card_of(dataset, source, listing)
    ids = [item.id for item in (*listing.train, *listing.test)]
    with ThreadPoolExecutor(params.runtime.workers_on("cpu")) as pool:
        examined = list(progress(pool.map(examination(raw, source), ids), what="fetch", total=len(ids)))
    with collecting(faults):
        require_whole([fault for _, fault in examined], raw, source)
    index = index_of(listing, [digest for digest, _ in examined])
    whole = index.take(np.array([not fault for _, fault in examined], bool))
    classes, limit = len(listing.class_names), params.fetch.overlap_limit
    with collecting(faults):
        notes = check_index(whole, classes=classes, overlap_limit=limit, own=source.download is None)
    if faults:
        raise ValueError("\n".join(faults) + told_of_passed_over(raw).rstrip("\n"))
    with replacing(out) as temporary, replacing(card_path) as temporary_card:
        write_index(temporary, index, dataset=dataset)
        write_card(temporary_card, card.model_copy(update={"sha256": index.sha256, "notes": notes}))
    told = "".join(f"; {note}" for note in notes)
    return (
        f"wrote {out}, {len(listing.train)} + {len(listing.test)} images, {len(listing.class_names)} classes, "
        f"splits: {listing.splits}{told}{told_of_passed_over(raw)}"
    )


def card_of(dataset: str, source: Source, listing: Listing) -> Card:
    """Return the card without what the images say; an error in the class names names the data set."""
    try:
        return Card(
            name=dataset,
            class_names=listing.class_names,
            template=source.template,
            sha256="",
            origin=source.origin,
            licence=source.licence,
            splits=listing.splits,
            packed=source.packed,
            notes=[],
        )
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise ValueError(f"{dataset}: {faults}") from error


def link_to_workspace(raw: Path) -> None:
    """Make a missing raw folder a link to that of the workspace, where a DVC experiment runs outside of it.

    So `dvc exp run --temp` and `--queue` neither miss images that lie in the workspace alone, nor copy them, nor
    download into a folder that goes with the experiment.
    """
    home = Path(os.environ.get("DVC_ROOT", "."), raw)  # set by DVC: the folder in which the experiment was asked for
    if os.path.lexists(raw) or home.absolute() == raw.absolute():
        return
    if raw.name in CATALOGUE:
        home.mkdir(parents=True, exist_ok=True)
    if home.is_dir():
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.symlink_to(home.resolve(), target_is_directory=True)


def get(source: Source, raw: Path) -> Listing:
    """List the images that lie in the raw folder; of one that holds no file but CoOp's split, after a download.

    Raises:
        ValueError: If the raw folder is a link that leads nowhere, or its images cannot be had or listed.
    """
    if raw.is_symlink() and not raw.exists():
        raise ValueError(
            f"{raw}: a link to {raw.readlink()}, missing or in a circle; mount or make it, or remove the link"
        )
    if source.download and no_images(raw):
        lock = raw.resolve().with_name(f".{raw.name}.download.partial")
        with explaining(raw):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock):  # experiments of one workspace share the folder: one downloads, the others wait
                try:
                    if no_images(raw):
                        source.download(raw)
                finally:
                    remove(lock)
        no_images(raw)
    return source.list_images(raw)


def no_images(raw: Path) -> bool:
    """Return whether there is nothing but CoOp's split file, which comes without the images.

    Raises:
        ValueError: If a link leads to another folder, out of the raw folder or nowhere.
    """
    files = list(files_below(raw)) if raw.is_dir() else []
    faults = []
    for path in filter(Path.is_symlink, files):
        try:
            if not path_of(raw, path.relative_to(raw).as_posix()).exists():
                faults.append(f"{path}: cannot be read (a link to {path.readlink()}, missing or in a circle)")
        except ValueError as error:
            faults.append(str(error))
    if faults:
        remedy = "put the files themselves there"
        raise ValueError(f"{raw}: {len(faults)} links that cannot be followed; {remedy}\n{shortened(faults)}")
    return all(path.name.startswith("split_zhou_") for path in files)


def examination(raw: Path, source: Source) -> Callable[[str], tuple[bytes, str]]:
    """Return a function that maps an id to the sha256 of what the image is on disk and to what is wrong with it."""
    if source.packed:
        content = content_of(raw)
        return lambda id: (hashlib.sha256(content(id)).digest(), "")

    def examine(id: str) -> tuple[bytes, str]:
        try:
            decode(path_of(raw, id))
            return hashlib.sha256(read_content(raw, id)).digest(), ""
        except ValueError as error:
            return b"", str(error)

    return examine


def require_whole(told: list[str], raw: Path, source: Source) -> None:
    """Name the images that are no whole ones, by what is wrong with each image (or ""), and how to go on."""
    if not (faults := [fault for fault in told if fault]):
        return
    remedy = "mend or remove these files, then run `dvc repro`"
    if source.download:
        remedy = (
            f"the lists of a published data set name these files: get them again from {source.origin}, or empty {raw} "
            "and run `dvc repro`, which downloads the data set or says what to put there"
        )
    raise ValueError(f"{raw}: {len(faults)} of {len(told)} images cannot be used; {remedy}\n{shortened(faults)}")


def told_of_passed_over(raw: Path) -> str:
    """Name the files that are not taken for images, in lines of their own; empty if there are none."""
    names = names_passed_over(raw)
    return f"\n{len(names)} passed over, hidden or left behind by the system:\n{shortened(names)}\n" if names else ""


if __name__ == "__main__":
    command(main)
