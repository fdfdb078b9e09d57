"""The user's own images: a folder for each split and class, taken as they lie.

    data/raw/<dataset>/train/<class>/*      images to tune on; not needed for a data set under `test_only`
    data/raw/<dataset>/test/<class>/*       images to judge; without this folder, a part of train is held out
    data/raw/<dataset>/classes.json         optional: {"template": "a photo of a {}.", "names": {"<class>": "<name>"}}

What counts as a file is said in `places.py`; anything that is not expected is an error, so that a misspelt name is no
silent loss.
"""

import hashlib
import json
import os
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from stages.datasets.decode import path_of, read_content
from stages.datasets.listing import Item, Listing, Source
from stages.datasets.places import by_composed, collecting, entries_of, shortened
from stages.storage.card import composed

TEMPLATE = "a photo of a {}."
LAYOUT = "train/<class>/* and test/<class>/*, or one of them alone"
ALLOWED = ("train", "test", "classes.json")


def folder_source(raw: Path, *, held_out: float) -> Source:
    """Describe the user's own folder; without a test folder, a share in (0, 1) of each class is held out."""
    return Source(
        template=template_of(raw),
        origin=f"the user's folder {raw}",
        licence="the user's",
        list_images=partial(list_folder, held_out=held_out),
        download=None,
    )


def template_of(raw: Path) -> str:
    """Return the template of `classes.json`; the default for a file of which `list_folder` says what is wrong."""
    try:
        return read_naming(raw)[0]
    except ValueError:
        return TEMPLATE


def list_folder(raw: Path, *, held_out: float) -> Listing:
    """List the images; labels follow the sorted names (NFC) of the folders in train, without train of those in test.

    Files and folders that are missing, empty or not expected, and a share that cannot be held out, are its faults.
    """
    faults: list[str] = []
    found = [entry.name for entry in entries(raw, faults)]
    faults += [f"{raw / name}: not expected; allowed are {', '.join(ALLOWED)}" for name in found if name not in ALLOWED]
    splits = [name for name in ("train", "test") if name in found]
    if not (splits or faults):
        raise ValueError(f"{raw}: no images; put your own there as {LAYOUT}")
    splits = splits or ["train"]
    classes: dict[str, dict[str, str]] = {split: {} for split in splits}
    names: list[str] = []
    items: dict[str, list[Item]] = {"train": [], "test": []}
    for split in splits:
        with collecting(faults):
            classes[split] = classes_in(raw / split, faults)
    folders = list(classes[splits[0]])
    for split in splits:
        with collecting(faults):
            items[split] = items_in(raw, split, classes[split], folders, faults)
    with collecting(faults):
        names = display_names(raw / splits[0], folders)
    if faults:
        remedy = f"allowed are {LAYOUT}; mend or remove them, then run `dvc repro`"
        faults = [f"{raw}: {len(faults)} files or folders do not fit; {remedy}\n{shortened(faults)}"]
    told = f"the user's folder{'s' * (len(splits) - 1)} {' and '.join(splits)}"
    if "test" not in splits:
        told = f"a share of {held_out:g} of {told} held out from each class, by the sha256 of the images"
        with collecting(faults):
            items["train"], items["test"] = hold_out(raw, items["train"], held_out)
    return Listing(names, items["train"], items["test"], splits=told, faults=faults)


def entries(folder: Path, faults: list[str]) -> list[os.DirEntry[str]]:
    """Return what a folder holds, sorted by name; a link to a folder and a name that is not Unicode become faults."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: missing or no folder; allowed are {LAYOUT}")
    found = entries_of(folder, faults)
    strange = [entry for entry in found if entry.name.encode(errors="replace").decode() != entry.name]
    faults += [f"{folder}: the name {entry.name!r} is not valid Unicode; rename it" for entry in strange]
    return [entry for entry in found if entry not in strange]


def classes_in(split: Path, faults: list[str]) -> dict[str, str]:
    """Map the name of each class (NFC, sorted) to its folder in a split."""
    return by_composed((entry.name for entry in entries(split, faults)), split)


def items_in(raw: Path, split: str, classes: dict[str, str], folders: list[str], faults: list[str]) -> list[Item]:
    """List the images of one split; add each class that is unknown or empty, and each folder inside one, to faults."""
    items = []
    if not classes:
        faults.append(f"{raw / split}: no class folders; allowed are {LAYOUT}")
    for name, folder in classes.items():
        path = raw / split / folder
        if name not in folders:
            faults.append(f"{path}: {folder!r} is missing from {raw / 'train'}; every class needs images to tune on")
        with collecting(faults):
            if not (found := entries(path, faults)) and name in folders:
                raise ValueError(f"{path}: no images; each class needs at least one")
            nested = [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
            faults += [f"{place}: a folder inside a class; only images are allowed there" for place in nested]
            label = folders.index(name) if name in folders else -1
            items += [Item(f"{split}/{folder}/{entry.name}", label) for entry in found if entry.path not in nested]
    return items


def hold_out(raw: Path, items: list[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Hold out a share of the different contents of each class, rounded, but at least one, and one stays.

    They are those with the smallest sha256, whatever the files are called; a class lies together in `items`. Items that
    stay are returned first.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"fetch.held_out: {share!r}; more than 0 and less than 1 is allowed, or a folder {raw / 'test'}"
        )
    held: set[Item] = set()
    few = []
    for _, of_class in groupby(items, key=lambda item: item.label):
        digests = {item: digest_of(raw, item.id) for item in of_class}
        contents = sorted(set(digests.values()))
        if len(contents) < 2:
            few.append(str((raw / next(iter(digests)).id).parent))
        count = min(max(1, round(share * len(contents))), len(contents) - 1)
        held |= {item for item, digest in digests.items() if digest < contents[count]}
    if few:
        raise ValueError(
            f"{raw}: holding out a share needs at least 2 different images in each class; 1 is in\n{shortened(few)}"
        )
    return [item for item in items if item not in held], [item for item in items if item in held]


def digest_of(raw: Path, id: str) -> bytes:
    """Return the sha256 of an image; of its id if it cannot be read, which `fetch` says of all such images at once."""
    try:
        return hashlib.sha256(read_content(raw, id)).digest()
    except ValueError:
        return hashlib.sha256(id.encode()).digest()


def display_names(split: Path, folders: list[str]) -> list[str]:
    """Name the classes whose folders (NFC) lie in a split, by `classes.json` where it does."""
    _, names = read_naming(split.parent)
    if unknown := [repr(folder) for folder in names if folder not in folders]:
        raise ValueError(
            f"{split.parent / 'classes.json'}: no folder {', '.join(unknown)} in {split.name}; there are: "
            f"{', '.join(folders)}"
        )
    return [names.get(folder, folder) for folder in folders]


def read_naming(raw: Path) -> tuple[str, dict[str, str]]:
    """Read the template and the names by folder (NFC) from `classes.json`; without it, return the defaults."""
    path = path_of(raw, "classes.json")
    if not path.exists():
        return TEMPLATE, {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no readable JSON: {error}") from error
    if not isinstance(found, dict) or set(found) - {"template", "names"}:
        raise ValueError(f'{path}: {found!r:.80}; an object with the keys "template" and "names" is allowed')
    template, names = found.get("template", TEMPLATE), found.get("names", {})
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ValueError(f"{path}: template {template!r}; text with exactly one {{}} is allowed")
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise ValueError(f"{path}: names {names!r:.80}; an object that maps folders to text is allowed")
    return template, {folder: composed(names[own]) for folder, own in by_composed(names, path).items()}
