"""Published data sets in small: the folders and annotation files of the originals, two to ten classes, tiny images."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Entries = list[tuple[str, int]]  # path below the folder of images, label


@dataclass(frozen=True)
class Miniature:
    """What a loader must find.

    Attributes:
        images: Folder of images.
        class_names: As a prompt says them.
        train: In the order of the official list.
        test: In the order of the official list.
        lists: Lines of the official lists that are text, by their paths.
        annotate: Writes those that are not.
        told: What the listing says of the official split; empty if there is none.
        zhou: CoOp's split file; empty if there is none.
        unused: Images that lie there, such as those of a validation list.
        outer: Folders inside which torchvision or the archive puts all of it.
    """

    images: str
    class_names: list[str]
    train: Entries
    test: Entries
    lists: dict[str, str] = field(default_factory=dict)
    annotate: Callable[[Path], None] = lambda folder: None
    told: str = ""
    zhou: str = ""
    unused: list[str] = field(default_factory=list)
    outer: tuple[str, ...] = ()

    def build(self, folder: Path) -> None:
        """Writes images and annotation files."""
        for path in [*(path for path, _ in self.train + self.test), *self.unused]:
            write_image(folder / self.images / path)
        for path, lines in self.lists.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("".join(f"{line.strip()}\n" for line in lines.splitlines()))
        self.annotate(folder)


def write_image(path: Path) -> None:
    """A JPEG of 16 px, another one for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")


def write_split(path: Path, class_names: list[str], train: Entries, test: Entries) -> None:
    """A split file of CoOp's, with a validation list that must not be used."""
    lists = {"train": train, "val": [("nowhere.jpg", 0)], "test": test}
    rows = {name: [(image, label, class_names[label]) for image, label in entries] for name, entries in lists.items()}
    path.write_text(json.dumps(rows))


def flowers102(folder: Path) -> None:
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 1, 2, 2, 3, 3, 1]], np.uint8)})
    ids = {"trnid": [[1, 3, 5]], "valid": [[7]], "tstid": [[2, 6, 4]]}
    savemat(folder / "setid.mat", {name: np.array(value, np.uint16) for name, value in ids.items()})
    (folder / "cat_to_name.json").write_text('{"3": "canterbury bells", "1": "pink primrose", "2": "colt\'s foot"}')


def stanford_cars(folder: Path) -> None:
    def annotations(classes: list[int]) -> np.ndarray:
        boxes = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
        cars = np.empty((1, len(classes)), [(name, object) for name in (*boxes, "class", "fname")])
        for index, number in enumerate(classes):
            cars[0, index] = (*(np.uint16(1) for _ in boxes), np.uint8(number), f"{index + 1:05d}.jpg")
        return cars

    (folder / "devkit").mkdir()
    names = np.array([["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]], object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    savemat(folder / "devkit" / "cars_train_annos.mat", {"annotations": annotations([2, 1])})
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": annotations([1, 2, 2])})


def numbered(folders: list[str], pattern: str, count: int = 4) -> list[str]:
    """Images 1..count of each folder."""
    return [f"{folder}/{pattern.format(folder, number)}" for folder in folders for number in range(1, count + 1)]


EUROSAT = "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River SeaLake"

LISTS = {
    "oxford_pets": {
        "annotations/trainval.txt": "Abyssinian_100 1 1 1\n american_bulldog_2 2 2 1\n Egyptian_Mau_7 3 1 2",
        "annotations/test.txt": "Abyssinian_1 1 1 1\n american_bulldog_100 2 2 1\n Egyptian_Mau_8 3 1 2",
    },
    "food101": {
        "meta/classes.txt": "apple_pie\n baby_back_ribs",
        "meta/labels.txt": "Apple pie\n Baby back ribs",
        "meta/train.json": '{"baby_back_ribs": ["baby_back_ribs/9"], "apple_pie": ["apple_pie/1", "apple_pie/2"]}',
        "meta/test.json": '{"apple_pie": ["apple_pie/3"], "baby_back_ribs": ["baby_back_ribs/10"]}',
    },
    "sun397": {
        "ClassName.txt": "/a/abbey\n /a/airplane_cabin\n /a/apse/indoor",
        "Training_01.txt": "/a/abbey/sun_a.jpg\n /a/airplane_cabin/sun_c.jpg\n /a/apse/indoor/sun_e.jpg",
        "Testing_01.txt": "/a/abbey/sun_b.jpg\n /a/airplane_cabin/sun_d.jpg\n /a/apse/indoor/sun_f.jpg",
    },
    "dtd": {
        "labels/train1.txt": "banded/banded_0002.jpg\n chequered/chequered_0001.jpg",
        "labels/val1.txt": "banded/banded_0003.jpg",
        "labels/test1.txt": "chequered/chequered_0002.jpg\n banded/banded_0001.jpg",
    },
    "ucf101": {
        "ucfTrainTestlist/classInd.txt": "1 ApplyEyeMakeup\n 2 HandstandPushups\n 3 YoYo",
        "ucfTrainTestlist/trainlist01.txt": """ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
            HandstandPushups/v_HandStandPushups_g08_c01.avi 2
            YoYo/v_YoYo_g08_c01.avi 3""",
        "ucfTrainTestlist/testlist01.txt": """ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi
            HandstandPushups/v_HandStandPushups_g01_c01.avi
            YoYo/v_YoYo_g01_c01.avi""",
    },
    "fgvc_aircraft": {
        "variants.txt": "707-320\n Cessna 172\n F/A-18",
        "images_variant_train.txt": "1025794 707-320\n 0034309 F/A-18\n 0034958 Cessna 172",
        "images_variant_val.txt": "0056978 707-320",
        "images_variant_test.txt": "0062765 Cessna 172\n 0064932 707-320\n 0104801 F/A-18",
    },
}
MINIATURES = {
    "flowers102": Miniature(
        annotate=flowers102,
        images="jpg",
        class_names=["pink primrose", "colt's foot", "canterbury bells"],
        train=[("image_00001.jpg", 0), ("image_00003.jpg", 1), ("image_00005.jpg", 2)],
        test=[("image_00002.jpg", 0), ("image_00006.jpg", 2), ("image_00004.jpg", 1)],
        told="official (setid.mat)",
        zhou="split_zhou_OxfordFlowers.json",
        unused=["image_00007.jpg"],
        outer=("flowers-102",),
    ),
    "oxford_pets": Miniature(
        lists=LISTS["oxford_pets"],
        images="images",
        class_names=["abyssinian", "american_bulldog", "egyptian_mau"],
        train=[("Abyssinian_100.jpg", 0), ("american_bulldog_2.jpg", 1), ("Egyptian_Mau_7.jpg", 2)],
        test=[("Abyssinian_1.jpg", 0), ("american_bulldog_100.jpg", 1), ("Egyptian_Mau_8.jpg", 2)],
        told="official (trainval.txt, test.txt)",
        zhou="split_zhou_OxfordPets.json",
        outer=("oxford-iiit-pet",),
    ),
    "food101": Miniature(
        lists=LISTS["food101"],
        images="images",
        class_names=["apple_pie", "baby_back_ribs"],
        train=[("baby_back_ribs/9.jpg", 1), ("apple_pie/1.jpg", 0), ("apple_pie/2.jpg", 0)],
        test=[("apple_pie/3.jpg", 0), ("baby_back_ribs/10.jpg", 1)],
        told="official (meta/train.json, test.json)",
        zhou="split_zhou_Food101.json",
        outer=("food-101",),
    ),
    "sun397": Miniature(
        lists=LISTS["sun397"],
        images="SUN397",
        class_names=["abbey", "airplane cabin", "indoor apse"],
        train=[("a/abbey/sun_a.jpg", 0), ("a/airplane_cabin/sun_c.jpg", 1), ("a/apse/indoor/sun_e.jpg", 2)],
        test=[("a/abbey/sun_b.jpg", 0), ("a/airplane_cabin/sun_d.jpg", 1), ("a/apse/indoor/sun_f.jpg", 2)],
        told="official (Training_01.txt, Testing_01.txt)",
        zhou="split_zhou_SUN397.json",
    ),
    "dtd": Miniature(
        lists=LISTS["dtd"],
        images="images",
        class_names=["banded", "chequered"],
        train=[("banded/banded_0002.jpg", 0), ("chequered/chequered_0001.jpg", 1)],
        test=[("chequered/chequered_0002.jpg", 1), ("banded/banded_0001.jpg", 0)],
        told="official (labels/train1.txt, test1.txt)",
        zhou="split_zhou_DescribableTextures.json",
        unused=["banded/banded_0003.jpg"],
        outer=("dtd", "dtd/dtd"),
    ),
    "eurosat": Miniature(
        images="2750",
        class_names=["Annual Crop Land", "Forest"],
        train=[("AnnualCrop/AnnualCrop_1.jpg", 0), ("Forest/Forest_1.jpg", 1)],
        test=[("AnnualCrop/AnnualCrop_2.jpg", 0), ("Forest/Forest_2.jpg", 1)],
        zhou="split_zhou_EuroSAT.json",
        unused=numbered(EUROSAT.split(), "{}_{}.jpg"),
        outer=("eurosat",),
    ),
    "ucf101": Miniature(
        lists=LISTS["ucf101"],
        images="UCF-101-midframes",
        class_names=["Apply_Eye_Makeup", "Handstand_Pushups", "Yo_Yo"],
        train=[
            ("Apply_Eye_Makeup/v_ApplyEyeMakeup_g08_c01.jpg", 0),
            ("Handstand_Pushups/v_HandStandPushups_g08_c01.jpg", 1),
            ("Yo_Yo/v_YoYo_g08_c01.jpg", 2),
        ],
        test=[
            ("Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg", 0),
            ("Handstand_Pushups/v_HandStandPushups_g01_c01.jpg", 1),
            ("Yo_Yo/v_YoYo_g01_c01.jpg", 2),
        ],
        told="official (trainlist01.txt, testlist01.txt)",
        zhou="split_zhou_UCF101.json",
    ),
    "caltech101": Miniature(
        images="101_ObjectCategories",
        class_names=["face", "leopard"],
        train=[("Faces/image_0001.jpg", 0), ("Leopards/image_0001.jpg", 1)],
        test=[("Faces/image_0002.jpg", 0), ("Leopards/image_0002.jpg", 1)],
        zhou="split_zhou_Caltech101.json",
        unused=numbered(["BACKGROUND_Google", "Faces", "Faces_easy", "Leopards", "accordion"], "image_{1:04d}.jpg"),
        outer=("caltech101", "caltech-101"),
    ),
    "fgvc_aircraft": Miniature(
        lists=LISTS["fgvc_aircraft"],
        images="images",
        class_names=["707-320", "Cessna 172", "F/A-18"],
        train=[("1025794.jpg", 0), ("0034309.jpg", 2), ("0034958.jpg", 1)],
        test=[("0062765.jpg", 1), ("0064932.jpg", 0), ("0104801.jpg", 2)],
        told="official (images_variant_train.txt, images_variant_test.txt)",
        unused=["0056978.jpg"],
        outer=("fgvc-aircraft-2013b/data", "data"),
    ),
    "stanford_cars": Miniature(
        annotate=stanford_cars,
        images=".",
        class_names=["2000 AM General Hummer SUV", "2012 Acura RL Sedan"],
        train=[("cars_train/00001.jpg", 1), ("cars_train/00002.jpg", 0)],
        test=[("cars_test/00001.jpg", 0), ("cars_test/00002.jpg", 1), ("cars_test/00003.jpg", 1)],
        told="official (train, test)",
        zhou="split_zhou_StanfordCars.json",
        outer=("stanford_cars",),
    ),
}
