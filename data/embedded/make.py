"""Make the parts of Fashion-MNIST again: two cuts of it, and small CLIPs trained on the images outside of them.

    python data/embedded/make.py FOLDER

FOLDER holds the four files of Fashion-MNIST (`train-images-idx3-ubyte.gz`, ...), for example those of Debian's package
`dataset-fashion-mnist`. The same processor and library versions make the same bytes; see README.md beside this file for
what was measured. This is no stage: `dvc repro` only reads what it made.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from training import HERE, Images, Recipe, RobustRecipe, Task, make_models

from stages.datasets.embedded import images_of
from stages.storage.parquet import write_table

CLASS_NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
TEMPLATES = [
    "a photo of a {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "a small photo of a {}.",
    "a grey photo of a {}.",
    "a product photo of a {}.",
    "a photo of the {}.",
    "this is a photo of a {}.",
    "a {} from a fashion shop.",
    "a {}.",
]
PRETRAINING = slice(0, 50_000)  # training images that the CLIPs learn from
CUTS = {  # training and test images that the pipeline gets: no CLIP has seen them, and no two cuts share one
    "fashion": (slice(50_000, 52_000), slice(0, 1_000)),
    "fashion_second": (slice(52_000, 54_000), slice(1_000, 2_000)),
}
RECIPES = {
    "tiny-clip": Recipe({"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}, 4, 4e-3),
    "tiny-vit": Recipe({"image_size": 32, "patch_size": 8, "layers": 3, "width": 128, "head_width": 32}, 8, 2e-3),
    "tiny-fare": RobustRecipe("tiny-clip", "fare", 2, 1e-3),
    "tiny-tecoa": RobustRecipe("tiny-clip", "tecoa", 2, 1e-3),
}


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes: (N, H, W) for images, (N,) for labels."""
    content = gzip.decompress(path.read_bytes())
    dimensions = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(dimensions)


def write_split(cut: str, split: str, images: np.ndarray, labels: np.ndarray, part: slice) -> None:
    """Write the 28x28 grey images of `part` with ids that name their place in the original file."""
    table = pa.table(
        {
            "id": [f"{split}/{index:05d}" for index in range(part.start, part.stop)],
            "label": pa.array(labels[part], pa.int64()),
            "image": pa.array([image.tobytes() for image in images[part]], pa.binary(images[0].size)),
        }
    )
    about = {"dataset": cut, "split": split, "class_names": CLASS_NAMES, "shape": list(images.shape[1:])}
    write_table(HERE / cut / f"{split}.parquet", [table], about)


def padded(images: np.ndarray, labels: np.ndarray) -> Images:
    """Grey images (N, 28, 28) -> (N, 3, 32, 32), as the pipeline pads them."""
    return Images(torch.from_numpy(images_of(images)).permute(0, 3, 1, 2), torch.tensor(labels).long())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the four .gz files of Fashion-MNIST")
    parser.add_argument("parts", nargs="*", default=[*CUTS, *RECIPES], help="what to make; all by default")
    parser.add_argument("--only-measure", action="store_true", help="measure the models that are there")
    arguments = parser.parse_args()
    train_images, train_labels, test_images, test_labels = (
        read_idx(arguments.folder / f"{name}-ubyte.gz")
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    )
    for cut in CUTS.keys() & set(arguments.parts):
        train_part, test_part = CUTS[cut]
        write_split(cut, "train", train_images, train_labels, train_part)
        write_split(cut, "test", test_images, test_labels, test_part)
    task = Task(
        class_names=CLASS_NAMES,
        templates=TEMPLATES,
        preprocess={"mean": [0.286] * 3, "std": [0.353] * 3},
        shift=2,
        training=padded(train_images[PRETRAINING], train_labels[PRETRAINING]),
        held_out={"test": padded(test_images, test_labels)},
    )
    recipes = {name: recipe for name, recipe in RECIPES.items() if name in arguments.parts}
    make_models(recipes, task, only_measure=arguments.only_measure)


if __name__ == "__main__":
    main()
