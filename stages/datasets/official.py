"""Official splits of published data sets; each function takes the folder of images and reads the lists beside it."""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from stages.datasets.annotations import naming, read_json, read_lines, read_mat
from stages.datasets.places import folders_in
from stages.datasets.splits import COOP_PAGE, Row, Split, Splits, held_out, label_of, splits_of_rows
from stages.storage.card import composed

SUN_LISTS = "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip"
CALTECH_LEFT_OUT = {"BACKGROUND_Google", "Faces_easy"}  # no object; the images of Faces once more, cut out
CALTECH = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}  # CoOp's names
EUROSAT = {  # CoOp's names by folder
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}


def read_list(path: Path, entry: Callable[[str], tuple[str, int]]) -> Split:
    """Read a split that has a line for each image."""
    return Split(path, read_lines(path, entry))


def caltech101(images: Path) -> Splits:
    """Hold images out, as there is no official split."""
    folders = [folder for folder in folders_in(images) if folder not in CALTECH_LEFT_OUT]
    return held_out(images, {folder: CALTECH.get(folder, folder) for folder in folders})


def eurosat(images: Path) -> Splits:
    """Hold images out, as there is no official split."""
    if unknown := set(folders_in(images)) - EUROSAT.keys():
        raise ValueError(f"{images / min(unknown)}: unknown class; there are: {', '.join(EUROSAT)}")
    return held_out(images, EUROSAT)


def dtd(images: Path) -> Splits:
    """Read the first of ten splits; lines are `banded/banded_0002.jpg`; val1.txt is used by neither."""
    paths = [images.parent / "labels" / name for name in ("train1.txt", "test1.txt")]
    textures = [read_lines(path, lambda line: PurePosixPath(line).parent.name) for path in paths]
    names = sorted({*textures[0], *textures[1]})
    splits = (read_list(path, lambda line: (line, names.index(PurePosixPath(line).parent.name))) for path in paths)
    return Splits(names, "official (labels/train1.txt, test1.txt)", *splits)


def fgvc_aircraft(images: Path) -> Splits:
    """Read the official split, which is CoOp's too: lines are `1025794 707-320`; `val` is used by neither."""
    variants = read_lines(images.parent / "variants.txt", str)

    def entry(line: str) -> tuple[str, int]:
        image, variant = line.split(" ", 1)
        return f"{image}.jpg", label_of(variants, variant)

    files = [f"images_variant_{name}.txt" for name in ("train", "test")]
    splits = (read_list(images.parent / file, entry) for file in files)
    return Splits(variants, f"official ({', '.join(files)})", *splits)


def flowers102(images: Path) -> Splits:
    """Read setid.mat: 10 images of each class to tune on, the rest but 10, `valid`, to judge."""
    folder, path = images.parent, images.parent / "setid.mat"
    labels = dict(enumerate(read_mat(folder / "imagelabels.mat", "labels").tolist(), start=1))
    train, test = (read_mat(path, name).tolist() for name in ("trnid", "tstid"))
    with naming(path):
        splits = [Split(path, [(f"image_{id:05d}.jpg", labels[id] - 1) for id in ids]) for ids in (train, test)]
    return Splits(flower_names(folder / "cat_to_name.json"), "official (setid.mat)", *splits)


def flower_names(path: Path) -> list[str]:
    """Return the names of CoOp's file, if it is there, or torchvision's: the same but for a stray question mark."""
    if path.is_file():
        names = read_json(path)
        with naming(path):
            return [names[str(number)] for number in range(1, len(names) + 1)]
    from torchvision.datasets import Flowers102

    return [name.rstrip("?") for name in Flowers102.classes]


def food101(images: Path) -> Splits:
    """Read meta/train.json and test.json: paths without their suffix by class name."""
    paths = [images.parent / "meta" / f"{name}.json" for name in ("train", "test")]
    lists = [read_json(path) for path in paths]
    with naming(paths[0]):
        names = sorted(map(composed, lists[0]))
    splits = []
    for path, by_name in zip(paths, lists, strict=True):
        with naming(path):
            labelled = [(label_of(names, name), listed) for name, listed in by_name.items()]
            splits.append(Split(path, [(f"{image}.jpg", label) for label, listed in labelled for image in listed]))
    return Splits(names, "official (meta/train.json, test.json)", *splits)


def oxford_pets(images: Path) -> Splits:
    """Read lines such as `Abyssinian_100 1 1 1`: image, breed from 1, species, number within it."""

    def row(line: str) -> Row:
        image, breed, _, _ = line.split()
        return f"{image}.jpg", int(breed) - 1, image.rpartition("_")[0].lower()

    paths = [images.parent / "annotations" / name for name in ("trainval.txt", "test.txt")]
    train, test = ((path, read_lines(path, row)) for path in paths)
    return splits_of_rows(train, test, told="official (trainval.txt, test.txt)")


def stanford_cars(images: Path) -> Splits:
    """Read the names of the images and their classes, counted from 1, from .mat files."""
    lists = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}
    splits = []
    for folder, file in lists.items():
        annotations = read_mat(images / file, "annotations")
        with naming(images / file):
            entries = [(f"{folder}/{car['fname']}", int(car["class"]) - 1) for car in annotations]
        splits.append(Split(images / file, entries))
    cars = (car.rpartition(" ") for car in read_mat(images / "devkit" / "cars_meta.mat", "class_names").tolist())
    names = [f"{year} {model}".strip() for model, _, year in cars]  # as CoOp's: 2000 AM General Hummer SUV
    return Splits(names, "official (train, test)", *splits)


def sun397(images: Path) -> Splits:
    """Read the first of ten splits, as CoOp: 50 images of each class in either; lines are `/a/abbey/sun_a.jpg`."""
    paths = []
    for name in ("ClassName.txt", "Training_01.txt", "Testing_01.txt"):
        found = [folder / name for folder in (images.parent, images) if (folder / name).is_file()]
        if not found:
            raise ValueError(
                f"{images.parent / name}: missing; unpack {SUN_LISTS} there, or put split_zhou_SUN397.json there "
                f"({COOP_PAGE})"
            )
        paths.append(found[0])
    classes = read_lines(paths[0], str)

    def entry(line: str) -> tuple[str, int]:
        return line.removeprefix("/"), label_of(classes, str(PurePosixPath(line).parent))

    splits = (read_list(path, entry) for path in paths[1:])
    # /a/apse/indoor -> indoor apse: without the letter, what qualifies comes first
    names = [" ".join(reversed(path.split("/")[2:])).replace("_", " ") for path in classes]
    return Splits(names, "official (Training_01.txt, Testing_01.txt)", *splits)


def ucf101(images: Path) -> Splits:
    """Read the first of three splits; lines are `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`, or have no label."""
    folder = images.parent / "ucfTrainTestlist"
    path = folder / "classInd.txt"
    pairs = read_lines(path, str.split)
    with naming(path):
        names = {int(number): action for number, action in pairs}
        actions = [names[number] for number in range(1, len(pairs) + 1)]

    def entry(line: str) -> tuple[str, int]:
        action, video = line.split()[0].removesuffix(".avi").split("/")
        return f"{parted(action)}/{video}.jpg", label_of(actions, action)

    files = ("trainlist01.txt", "testlist01.txt")
    splits = (read_list(folder / file, entry) for file in files)
    return Splits(list(map(parted, actions)), f"official ({', '.join(files)})", *splits)


def parted(action: str) -> str:
    """`ApplyEyeMakeup` -> `Apply_Eye_Makeup`, as the folders of the frames and the classes are called."""
    return re.sub(r"\B(?=[A-Z])", "_", action)
