"""Where the files of a data set lie below its raw folder."""

from pathlib import Path

from stages.datasets.places import entries_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")  # in lower case; all that the published data sets use


def place(raw: Path, *candidates: str) -> Path:
    """Finds the folder of images, which lies elsewhere after torchvision's download than after CoOp's instructions.

    Args:
        raw: The raw folder of the data set.
        candidates: Where it may lie below `raw`, the preferred place first.

    Returns:
        The first of them that is a folder.

    Raises:
        ValueError: If none is.
    """
    for candidate in candidates:
        if (raw / candidate).is_dir():
            return raw / candidate
    also = "".join(f", nor is there {candidate}" for candidate in candidates[1:])
    raise ValueError(f"{raw / candidates[0]}: missing{also}; put the images there, or empty {raw} to fetch them")


def beside(raw: Path, images: Path, name: str) -> Path | None:
    """Finds a file that lies in the raw folder or beside the images.

    Args:
        raw: The raw folder of the data set.
        images: Its folder of images.
        name: Of the file, folders included.

    Returns:
        Its path, or None if there is none.
    """
    folders = (folder for folder in (raw, images.parent, images) if folder.is_relative_to(raw))
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def images_in(folder: Path) -> list[str]:
    """Names of the image files in a folder, sorted.

    Args:
        folder: Of the images of one class.

    Raises:
        ValueError: If there is no such folder or no image in it, or as `entries_of` does.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: missing; each class has a folder")
    if not (names := [entry.name for entry in entries_of(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES)]):
        raise ValueError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return names


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted.

    Args:
        folder: Of the classes of one data set.

    Raises:
        ValueError: As `entries_of` does.
    """
    return [entry.name for entry in entries_of(folder) if entry.is_dir()]
