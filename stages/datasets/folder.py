"""The user's own images: a folder for each split and class, taken as they lie.

    data/raw/<dataset>/train/<class>/*      images to tune on; not needed for a data set under `test_only`
    data/raw/<dataset>/test/<class>/*       images to judge; without this folder, a part of train is held out
    data/raw/<dataset>/classes.json         optional: {"template": "a photo of a {}.", "names": {"<class>": "<name>"}}

Class names are compared in one Unicode form (NFC). What counts as a file is said in `places.py`; anything that is not
expected is an error, so that a misspelt name is no silent loss.
"""

import hashlib
import json
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from stages.datasets.decode import path_of, read_content
from stages.datasets.listing import Item, Listing, Source
from stages.datasets.names import by_composed, composed
from stages.datasets.places import entries_of, shortened

TEMPLATE = "a photo of a {}."
LAYOUT = "train/<class>/* and test/<class>/*, or one of them alone"
ALLOWED = ("train", "test", "classes.json")


def folder_source(raw: Path, *, held_out: float) -> Source:
    """A data set that is the user's own folder.

    Args:
        raw: The folder.
        held_out: Share of each class to judge on, if there is no test folder; in (0, 1).

    Raises:
        ValueError: If `classes.json` is wrong.
    """
    return Source(
        template=read_naming(raw)[0],
        origin=f"the user's folder {raw}",
        licence="the user's",
        list_images=partial(list_folder, held_out=held_out),
        download=refuse,
        own=True,
    )


def refuse(raw: Path) -> None:
    """There is nothing to download.

    Raises:
        ValueError: Always; it says what to put where.
    """
    raise ValueError(f"{raw}: no images; put your own there as {LAYOUT}")


def list_folder(raw: Path, *, held_out: float) -> Listing:
    """Lists the images; labels follow the sorted names (NFC) of the folders in train, without train of those in test.

    Args:
        raw: The folder.
        held_out: Share of each class to judge on, if there is no test folder; in (0, 1).

    Raises:
        ValueError: If a folder is missing, empty or not expected, or there are not two classes with different names.
    """
    if unknown := [name for name in entries(raw) if name not in ALLOWED]:
        raise ValueError(f"{raw / unknown[0]}: not expected; allowed are {', '.join(ALLOWED)}")
    splits = [name for name in ("train", "test") if name in entries(raw)] or ["train"]
    folders = list(classes_in(raw / splits[0]))
    class_names = spoken_names(raw / splits[0], folders)
    items = {split: items_in(raw, split, folders) for split in splits}
    if "test" in splits:
        told = f"the user's folder{'s' * (len(splits) - 1)} {' and '.join(splits)}"
        return Listing(class_names, items.get("train", []), items["test"], splits=told)
    train, test = hold_out(raw, items["train"], held_out)
    told = f"a share of {held_out:g} of the user's folder train held out from each class, by the sha256 of the images"
    return Listing(class_names, train, test, splits=told)


def entries(folder: Path) -> list[str]:
    """Names in a folder, sorted.

    Raises:
        ValueError: If it is no folder, a name is not Unicode, or as `entries_of` does.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: missing or no folder; allowed are {LAYOUT}")
    names = [entry.name for entry in entries_of(folder)]
    if foreign := [name for name in names if name.encode(errors="replace").decode() != name]:
        raise ValueError(f"{folder}: the name {foreign[0]!r} is not valid Unicode; rename it")
    return names


def classes_in(split: Path) -> dict[str, str]:
    """Map the name of each class (NFC, sorted) to its folder in a split.

    Raises:
        ValueError: If two folders differ in Unicode form alone, or as `entries` does.
    """
    return by_composed(entries(split), split)


def items_in(raw: Path, split: str, folders: list[str]) -> list[Item]:
    """Lists the images of one split.

    Raises:
        ValueError: If a class is unknown or empty, or its folder holds another folder or a link out of `raw`.
    """
    items = []
    for called, folder in classes_in(raw / split).items():
        path = raw / split / folder
        if called not in folders:
            raise ValueError(f"{path}: {folder!r} is missing from {raw / 'train'}; every class needs images to tune on")
        names = entries(path)
        if not names:
            raise ValueError(f"{path}: no images; each class needs at least one")
        ids = [f"{split}/{folder}/{name}" for name in names]
        if nested := [id for id in ids if path_of(raw, id).is_dir()]:
            raise ValueError(f"{raw / nested[0]}: a folder inside a class; only images are allowed there")
        label = folders.index(called)
        items += [Item(id, label) for id in ids]
    if not items:
        raise ValueError(f"{raw / split}: no class folders; allowed are {LAYOUT}")
    return items


def hold_out(raw: Path, items: list[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Holds out a share of each class: the contents with the smallest sha256, whatever the files are called.

    Args:
        raw: The folder.
        items: Images, those of a class together.
        share: Of the different contents of a class, rounded, but at least one; in (0, 1).

    Returns:
        Those that stay, those held out.

    Raises:
        ValueError: If the share is out of range, an image cannot be read, or those of a class are all the same.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"fetch.held_out: {share!r}; more than 0 and less than 1 is allowed, or a folder {raw / 'test'}"
        )
    digest_of = digests_of(raw, items)
    held: set[Item] = set()
    for _, of_class in groupby(items, key=lambda item: item.label):
        digests = {item: digest_of[item] for item in of_class}
        contents = sorted(set(digests.values()))
        if len(contents) < 2:
            folder = (raw / next(iter(digests)).id).parent
            raise ValueError(f"{folder}: 1 image; holding out a share needs at least 2 different ones in each class")
        count = min(max(1, round(share * len(contents))), len(contents) - 1)
        held |= {item for item, digest in digests.items() if digest < contents[count]}
    return [item for item in items if item not in held], [item for item in items if item in held]


def digests_of(raw: Path, items: list[Item]) -> dict[Item, bytes]:
    """The sha256 of each image.

    Raises:
        ValueError: If some cannot be read; the message names them.
    """
    digests, faults = {}, []
    for item in items:
        try:
            digests[item] = hashlib.sha256(read_content(raw, item.id)).digest()
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError(f"{raw}: {len(faults)} of {len(items)} images cannot be read\n{shortened(faults)}")
    return digests


def spoken_names(split: Path, folders: list[str]) -> list[str]:
    """Names of the classes as a prompt says them, in the order of the folders.

    Args:
        split: The folder train or test of the raw folder, which holds the folders of the classes.
        folders: Their names, in NFC.

    Raises:
        ValueError: If there are fewer than two, two are the same, or `classes.json` names a folder that does not exist.
    """
    raw = split.parent
    _, names = read_naming(raw)
    if unknown := [folder for folder in names if folder not in folders]:
        there = ", ".join(folders)
        raise ValueError(f"{raw / 'classes.json'}: no folder {unknown[0]!r} in {split.name}; there are: {there}")
    if len(folders) < 2:
        raise ValueError(f"{split}: {len(folders)} class; at least 2 are allowed")
    class_names = [names.get(folder, folder) for folder in folders]
    seen: dict[str, str] = {}
    for folder, name in zip(folders, class_names, strict=True):
        other = seen.setdefault(name.replace("_", " "), folder)
        if other != folder:
            raise ValueError(f"{split}: {other!r} and {folder!r} are both spoken {name.replace('_', ' ')!r}")
    return class_names


def read_naming(raw: Path) -> tuple[str, dict[str, str]]:
    """Reads the template and the names by folder from `classes.json`, the names in NFC; without it, the defaults.

    Raises:
        ValueError: If it is not as described above.
    """
    path = path_of(raw, "classes.json")
    if not path.exists():
        return TEMPLATE, {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no readable JSON: {error}") from error
    if not isinstance(found, dict) or set(found) - {"template", "names"}:
        raise ValueError(f'{path}: {found!r:.80}; an object with the keys "template" and "names" is allowed')
    template, names = found.get("template", TEMPLATE), found.get("names", {})
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ValueError(f"{path}: template {template!r}; text with exactly one {{}} is allowed")
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise ValueError(f"{path}: names {names!r:.80}; an object that maps folders to text is allowed")
    return template, {folder: composed(names[own]) for folder, own in by_composed(names, path).items()}
