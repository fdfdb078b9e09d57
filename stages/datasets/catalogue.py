"""The data sets that the pipeline knows by name."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """How to get one data set and what to expect.

    Attributes:
        folder: Where its files lie in this repository.
        sha256: Expected digest of each file, by name.
        template: The hand-written prompt of CoOp's kind, `{}` standing for the class name.
        source: Where the images come from.
        licence: Their licence.
    """

    folder: Path
    sha256: dict[str, str]
    template: str
    source: str
    licence: str


CATALOGUE = {
    "fashion": Entry(
        folder=Path("data/embedded/fashion"),
        sha256={
            "train.parquet": "4c94b650b8b4260a0f3675012f465ab6534355ba2765d22c821be533ca1dab2b",
            "test.parquet": "3467768fce331e4c47514f674d5ac8b88512123f11a50c23eff0402ac879e945",
        },
        template="a photo of a {}.",
        source="Fashion-MNIST (Zalando Research, 2017): training images 50000-51999, test images 0-999",
        licence="Expat (MIT)",
    ),
}


def entry(name: str) -> Entry:
    """Looks a data set up.

    Raises:
        ValueError: If there is none of that name; the message lists those that there are.
    """
    if name not in CATALOGUE:
        raise ValueError(f"datasets: no data set called {name!r}; there are: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def check_files(known: Entry) -> str:
    """Compares the files of a data set with their expected digests.

    Returns:
        One digest for all of them.

    Raises:
        ValueError: If a file is missing or another one; the message names it.
    """
    for name, expected in known.sha256.items():
        path = known.folder / name
        if not path.is_file():
            raise ValueError(f"{path}: missing; it belongs to the repository (`git checkout {path}`)")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(f"{path}: damaged or another file (sha256 {found}, expected {expected})")
    return hashlib.sha256("".join(known.sha256.values()).encode()).hexdigest()
