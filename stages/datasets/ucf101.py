"""UCF101, the middle frame of each video."""

import re
from pathlib import Path

from stages.datasets.annotations import naming, read_lines
from stages.datasets.downloads import by_hand
from stages.datasets.layout import place
from stages.datasets.listing import Listing, Source
from stages.datasets.splits import Split, label_of, listing_of
from stages.datasets.zhou import PAGE as COOP
from stages.datasets.zhou import zhou


def list_images(raw: Path) -> Listing:
    """Reads CoOp's split, or else the first official one.

    Args:
        raw: Holds `UCF-101-midframes/` and either CoOp's split file or the official `ucfTrainTestlist/`.

    Raises:
        ValueError: If a file is missing or malformed; the message names it.
    """
    images = place(raw, "UCF-101-midframes")
    return zhou(raw, images, "split_zhou_UCF101.json") or official(raw, images)


def official(raw: Path, images: Path) -> Listing:
    """The first of the three official splits, of classInd.txt, trainlist01.txt and testlist01.txt."""
    folder = images.parent / "ucfTrainTestlist"
    actions = actions_of(folder / "classInd.txt")
    train, test = (split_of(folder / name, actions) for name in ("trainlist01.txt", "testlist01.txt"))
    class_names = [parted(action) for action in actions]
    return listing_of(raw, images, class_names, train, test, told="official (trainlist01.txt, testlist01.txt)")


def actions_of(path: Path) -> list[str]:
    """Reads the actions in their order from lines such as `1 ApplyEyeMakeup`."""
    lines = read_lines(path)
    with naming(path):
        actions = {int(number): action for number, action in (line.split() for line in lines)}
        return [actions[number] for number in range(1, len(lines) + 1)]


def split_of(path: Path, actions: list[str]) -> Split:
    """Reads a list of lines such as `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`; that to judge has no number."""
    lines = read_lines(path)
    with naming(path):
        videos = [line.split()[0].removesuffix(".avi").split("/") for line in lines]
        return Split(path, [(f"{parted(action)}/{name}.jpg", label_of(actions, action)) for action, name in videos])


def parted(action: str) -> str:
    """`ApplyEyeMakeup` -> `Apply_Eye_Makeup`, as the folders of the frames and the classes are called."""
    return re.sub(r"\B(?=[A-Z])", "_", action)


SOURCE = Source(
    template="a photo of a person doing {}.",
    origin="UCF101 (Soomro et al., 2012), https://www.crcv.ucf.edu/data/UCF101.php, CoOp's middle frames",
    licence="none stated; published for research",
    list_images=list_images,
    download=by_hand("UCF-101-midframes/ (of UCF-101-midframes.zip) and split_zhou_UCF101.json", page=COOP),
)
