"""A split for data sets that come without one: by the digests of the paths, so that it is the same everywhere."""

from pathlib import Path

from stages.datasets.fewshot import ranking
from stages.datasets.layout import images_in
from stages.datasets.names import composed
from stages.datasets.splits import Split

HELD_OUT = 0.3  # of each class is judged: the share of CoOp's own test lists
TOLD = f"{HELD_OUT:.0%} of each class held out, by digest of the path; without CoOp's split file"


def hold_out(images: Path, folders: list[str]) -> tuple[Split, Split]:
    """Parts the images of each class.

    Args:
        images: Folder of the class folders.
        folders: Names of the class folders; the label is the position.

    Returns:
        The split to tune on and the split to judge.

    Raises:
        ValueError: If a folder is missing or holds no image.
    """
    train, test = Split(images, []), Split(images, [])
    for label, folder in enumerate(folders):
        paths = [composed(f"{folder}/{name}") for name in images_in(images / folder)]
        entries = [(paths[index], label) for index in ranking(paths, seed=0)]
        count = round(HELD_OUT * len(entries))
        test.entries.extend(sorted(entries[:count]))
        train.entries.extend(sorted(entries[count:]))
    return train, test
