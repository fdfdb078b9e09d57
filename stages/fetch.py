"""fetch: name -> data/raw/<dataset>, the raw images, checked; data/index and data/cards, what to know of them.

A name that is not in the catalogue is a folder of the user's own images, data/raw/<dataset>, which is adopted as it is.
DVC does not cache the images; an experiment outside the workspace uses those of the workspace through a link.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from stages.datasets.card import Card
from stages.datasets.card_file import path_of_card, write_card
from stages.datasets.catalogue import CATALOGUE, source_of
from stages.datasets.checks import check_listing
from stages.datasets.decode import decode, path_of, read_content
from stages.datasets.embedded import content_of
from stages.datasets.index import index_of
from stages.datasets.index_file import path_of_index, write_index
from stages.datasets.listing import Listing, Source
from stages.datasets.places import files_below, names_passed_over, shortened
from stages.runtime.cli import command, progress
from stages.runtime.params import load_params
from stages.storage.files import explaining, remove, replacing, require_writable


def main(dataset: str) -> str:
    """Gets the images of a data set if they are not there, lists them, checks each of them and the list."""
    params = load_params()
    raw, out, card_path = Path(f"data/raw/{dataset}"), path_of_index(dataset), path_of_card(dataset)
    require_writable(out, card_path)
    link_to_workspace(raw)
    source = source_of(dataset, raw, held_out=params.fetch.held_out)
    listing = get(source, raw)
    ids = [item.id for item in (*listing.train, *listing.test)]
    with ThreadPoolExecutor(params.runtime.workers_on("cpu")) as pool:
        examined = progress(pool.map(examination(raw, source), ids), what="fetch", total=len(ids))
        index = index_of(listing, all_whole(examined, len(ids), raw, source))
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
        f"splits: {listing.splits}{told}{told_of_passed_over(raw)}"
    )


def card_of(**facts: Any) -> Card:
    """A card; what is wrong with the facts is an error that names the data set."""
    try:
        return Card(**facts)
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise ValueError(f"{facts['name']}: {faults}") from error


def link_to_workspace(raw: Path) -> None:
    """Makes a missing raw folder a link to that of the workspace, where a DVC experiment runs outside of it.

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
    """Lists the images that lie in the raw folder; of one that holds no file but CoOp's split, after a download.

    Raises:
        ValueError: If a link in the folder leads to another folder, out of it or nowhere, or the download or the
            listing fails.
    """
    if no_images(files_in(raw)):
        lock = raw.resolve().with_name(f".{raw.name}.download.partial")
        with explaining(raw):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock):  # experiments of one workspace share the folder: one downloads, the others wait
                try:
                    if no_images(files_in(raw)):
                        source.download(raw)
                finally:
                    remove(lock)
        files_in(raw)
    return source.list_images(raw)


def no_images(files: list[Path]) -> bool:
    """Whether there is nothing but CoOp's split file, which comes without the images."""
    return all(path.name.startswith("split_zhou_") for path in files)


def files_in(raw: Path) -> list[Path]:
    """Files in the raw folder, if there is one.

    Raises:
        ValueError: If a link leads to another folder, out of the raw folder or nowhere.
    """
    if raw.is_symlink() and not raw.exists():
        raise ValueError(f"{raw}: a link to {raw.readlink()}, which is missing; mount or make it, or remove the link")
    files = list(files_below(raw)) if raw.is_dir() else []
    faults = []
    for path in filter(Path.is_symlink, files):
        try:
            if not path_of(raw, path.relative_to(raw).as_posix()).exists():
                faults.append(f"{path}: cannot be read (a link to {path.readlink()}, which is missing)")
        except ValueError as error:
            faults.append(str(error))
    if faults:
        remedy = "put the files themselves there"
        raise ValueError(f"{raw}: {len(faults)} links that cannot be followed; {remedy}\n{shortened(faults)}")
    return files


def examination(raw: Path, source: Source) -> Callable[[str], bytes | ValueError]:
    """Maps an id to the sha256 of what the image is on disk, or to what is wrong with it."""
    if source.packed:
        content = content_of(raw)
        return lambda id: hashlib.sha256(content(id)).digest()

    def examine(id: str) -> bytes | ValueError:
        try:
            decode(path_of(raw, id))
            return hashlib.sha256(read_content(raw, id)).digest()
        except ValueError as error:
            return error

    return examine


def all_whole(examined: Iterable[bytes | ValueError], count: int, raw: Path, source: Source) -> list[bytes]:
    """The digests of all images.

    Raises:
        ValueError: If some are no whole images; the message names them, what is wrong, and how to go on.
    """
    results = list(examined)
    faults = [str(result) for result in results if isinstance(result, ValueError)]
    if not faults:
        return [result for result in results if isinstance(result, bytes)]
    remedy = "mend or remove these files, then run `dvc repro`"
    if not source.own:
        remedy = (
            f"the lists of a published data set name these files: get them again from {source.origin}, or empty {raw} "
            "and run `dvc repro`, which downloads the data set or says what to put there"
        )
    told = f"{shortened(faults)}{told_of_passed_over(raw)}".rstrip("\n")
    raise ValueError(f"{raw}: {len(faults)} of {count} images cannot be used; {remedy}\n{told}")


def told_of_passed_over(raw: Path) -> str:
    """Names the files that are not taken for images, in lines of their own; empty if there are none."""
    names = names_passed_over(raw)
    return f"\n{len(names)} passed over, hidden or left behind by the system:\n{shortened(names)}\n" if names else ""


if __name__ == "__main__":
    command(main)
