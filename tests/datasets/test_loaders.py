"""Published data sets: each loader finds in a miniature what the original's files say, or says what is wrong."""

import hashlib
from pathlib import Path

import pytest
from torchvision import datasets as torchvision_datasets

from stages.datasets.catalogue import CATALOGUE
from stages.datasets.decode import decode
from stages.datasets.listing import Item, Listing
from stages.datasets.official import flower_names
from tests.datasets.miniatures import MINIATURES, write_image, write_split

OFFICIAL = [name for name, miniature in MINIATURES.items() if miniature.told]
EUROSAT = [
    *("Annual Crop Land", "Forest", "Herbaceous Vegetation Land", "Highway or Road", "Industrial Buildings"),
    *("Pasture Land", "Permanent Crop Land", "Residential Buildings", "River", "Sea or Lake"),
]
SPLIT_FILES = [name for name, miniature in MINIATURES.items() if miniature.zhou]


def items(prefix, entries):
    return [Item((Path(prefix) / path).as_posix(), label) for path, label in entries]


@pytest.mark.parametrize(
    ("name", "outer"), [(name, outer) for name in OFFICIAL for outer in ("", *MINIATURES[name].outer)]
)
def test_the_official_split_is_read_in_either_layout(tmp_path, name, outer):
    known = MINIATURES[name]
    known.build(tmp_path / outer)
    prefix = Path(outer) / known.images
    expected = Listing(known.class_names, items(prefix, known.train), items(prefix, known.test), known.told)
    assert CATALOGUE[name].list_images(tmp_path) == expected


@pytest.mark.parametrize("beside", [False, True], ids=["in the raw folder", "beside the images"])
@pytest.mark.parametrize("name", SPLIT_FILES)
def test_the_split_file_of_coop_wins(tmp_path, name, beside):
    known = MINIATURES[name]
    outer = known.outer[0] if known.outer else ""
    known.build(tmp_path / outer)
    called = [f"class {label}" for label in range(len(known.class_names))]
    write_split(tmp_path / (outer if beside else "") / known.zhou, called, train=known.test, test=known.train)
    prefix = Path(outer) / known.images
    told = f"CoOp's split file {known.zhou}"
    expected = Listing(called, items(prefix, known.test), items(prefix, known.train), told)
    assert CATALOGUE[name].list_images(tmp_path) == expected


@pytest.mark.parametrize("outer", ["", "outer"])
@pytest.mark.parametrize(
    ("name", "folders", "class_names"),
    [
        (
            "eurosat",
            [folder.parts[0] for folder in map(Path, MINIATURES["eurosat"].unused[::4])],
            EUROSAT,
        ),
        ("caltech101", ["Faces", "Leopards", "accordion"], ["face", "leopard", "accordion"]),
    ],
)
def test_without_a_split_file_one_of_four_is_held_out_by_the_digest_of_its_path(
    tmp_path, name, folders, class_names, outer
):
    known = MINIATURES[name]
    prefix = Path(known.outer[0] if outer else "") / known.images
    known.build((tmp_path / prefix).parent)
    listing = CATALOGUE[name].list_images(tmp_path)
    assert listing.class_names == class_names
    assert listing.splits == "30% of each class held out, by digest of the path; without CoOp's split file"
    train, test = [], []
    for label, folder in enumerate(folders):
        paths = sorted(path for path in known.unused if path.startswith(f"{folder}/"))
        held = min(paths, key=lambda path: hashlib.sha256(f"0/{path}".encode()).hexdigest())
        train += [(path, label) for path in paths if path != held]
        test.append((held, label))
    assert (listing.train, listing.test) == (items(prefix, train), items(prefix, test))


@pytest.mark.parametrize(
    ("name", "other", "split"),
    [
        ("oxford_pets", "OxfordIIITPet", "trainval"),
        ("food101", "Food101", "train"),
        ("dtd", "DTD", "train"),
        ("fgvc_aircraft", "FGVCAircraft", "train"),
        ("stanford_cars", "StanfordCars", "test"),
    ],
)
def test_torchvision_reads_the_same(tmp_path, name, other, split):
    known = MINIATURES[name]
    known.build(tmp_path / known.outer[-1 if name == "dtd" else 0])
    listing = CATALOGUE[name].list_images(tmp_path)
    theirs = getattr(torchvision_datasets, other)(tmp_path, split=split)
    ours = listing.test if split == "test" else listing.train
    labels = [theirs[index][1] for index in range(len(theirs))]
    assert labels == [item.label for item in ours]
    for index, item in enumerate(ours):
        assert theirs[index][0].tobytes() == decode(tmp_path / item.id).tobytes()


def test_flowers_without_a_list_of_names_have_those_of_torchvision(tmp_path):
    names = flower_names(tmp_path / "cat_to_name.json")
    assert (len(set(names)), names[0], names[59], names[101]) == (
        102, "pink primrose", "pink-yellow dahlia", "blackberry lily",
    )  # fmt: skip


@pytest.mark.parametrize("name", MINIATURES)
def test_an_empty_folder_is_named_with_what_belongs_there(tmp_path, name):
    folder = "cars_train" if name == "stanford_cars" else MINIATURES[name].images
    with pytest.raises(ValueError, match=f"{tmp_path / folder}: missing"):
        CATALOGUE[name].list_images(tmp_path)


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_listed_image_that_is_missing_is_named(tmp_path, name):
    known = MINIATURES[name]
    known.build(tmp_path)
    (tmp_path / known.images / known.test[1][0]).unlink()
    with pytest.raises(ValueError, match=f"{known.test[1][0]}: missing, one of 1 such that .* lists"):
        CATALOGUE[name].list_images(tmp_path)


LISTS = {
    "flowers102": ["imagelabels.mat", "setid.mat", "cat_to_name.json"],
    "oxford_pets": ["annotations/trainval.txt", "annotations/test.txt"],
    "food101": ["meta/train.json", "meta/test.json"],
    "sun397": ["Training_01.txt", "Testing_01.txt"],
    "ucf101": [f"ucfTrainTestlist/{name}.txt" for name in ("classInd", "trainlist01", "testlist01")],
    "fgvc_aircraft": ["images_variant_train.txt", "images_variant_test.txt"],
    "stanford_cars": ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"],
}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in LISTS.items() for path in paths])
def test_a_damaged_or_missing_list_is_named(tmp_path, name, path):
    MINIATURES[name].build(tmp_path)
    (tmp_path / path).write_text("damaged")
    with pytest.raises(ValueError, match=f"{tmp_path / path}: malformed"):
        CATALOGUE[name].list_images(tmp_path)
    (tmp_path / path).unlink()
    if path != "cat_to_name.json":
        with pytest.raises(ValueError, match=f"{tmp_path / path}: missing"):
            CATALOGUE[name].list_images(tmp_path)


@pytest.mark.parametrize(
    ("name", "path", "lines", "message"),
    [
        ("fgvc_aircraft", "images_variant_test.txt", "0062765 Cessna 173\n", "unknown class 'Cessna 173'"),
        ("sun397", "Testing_01.txt", "/a/alley/sun_b.jpg\n", "unknown class '/a/alley'"),
        ("ucf101", "ucfTrainTestlist/testlist01.txt", "ZoYo/v_ZoYo_g01_c01.avi\n", "unknown class 'ZoYo'"),
        ("food101", "meta/test.json", '{"pie": ["pie/3"]}', "unknown class 'pie'"),
        (
            "oxford_pets",
            "annotations/test.txt",
            "Ragdoll_1 1 1 1\n",
            "label 0 is called both 'abyssinian' and 'ragdoll'",
        ),
        ("oxford_pets", "annotations/test.txt", "Ragdoll_1 5 1 1\n", "4 labels must be 0..3, but 3 is not among them"),
        ("oxford_pets", "annotations/test.txt", "Abyssinian_1 1 1 1\n", r"test.txt: lists no image of class 'american"),
        ("dtd", "labels/test1.txt", "banded/../../../x.jpg\n", r"test1.txt: .* leads out of"),
        ("dtd", "labels/test1.txt", "banded/banded_0002.jpg\nchequered/chequered_0002.jpg\n", "is listed 2 times"),
        ("dtd", "labels/test1.txt", "\n", "test1.txt: lists no image"),
        (
            "caltech101",
            "split_zhou_Caltech101.json",
            '{"train": [], "val": [], "test": []}',
            r"split_zhou_Caltech101\.json: lists no image",
        ),
        (
            "flowers102",
            "cat_to_name.json",
            '{"1": "pink primrose", "2": "colt\'s foot"}',
            r"setid\.mat: 'image_00005\.jpg' has label 2; there are 0\.\.1",
        ),
    ],
)
def test_a_list_that_contradicts_the_rest_is_refused(tmp_path, name, path, lines, message):
    MINIATURES[name].build(tmp_path)
    (tmp_path / path).write_text(lines)
    with pytest.raises(ValueError, match=message):
        CATALOGUE[name].list_images(tmp_path)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ('[["../a.jpg", 0, "face"]]', r"'\.\./a\.jpg' leads out of"),
        ('[["Faces/../../../a.jpg", 0, "face"]]', "leads out of"),
        ('[["/etc/a.jpg", 0, "face"]]', "'/etc/a.jpg' leads out of"),
        ('[["Faces/image_0009.jpg", 0, "face"]]', "Faces/image_0009.jpg: missing"),
        ('[["", 0, "face"]]', "missing"),
        ('[["Nowhere/a.jpg", 0, "face"]]', "Nowhere/a.jpg: missing"),
        ('[["Faces/image_0002.jpg", 3, "cat"]]', "3 labels must be 0..2, but 2 is not among them"),
        ('[["Faces/image_0002.jpg", -1, "cat"]]', "3 labels must be 0..2, but 2 is not among them"),
        ('[["Faces/image_0002.jpg", 0, "cat"]]', "'Faces/image_0002.jpg': label 0 is called both 'face' and 'cat'"),
        ('[["Faces/image_0002.jpg", "0", "face"]]', r"malformed entry \['Faces/image_0002.jpg', '0', 'face'\] of test"),
        ('[["Faces/image_0002.jpg", 0]]', "malformed entry"),
        ('[["Faces/image_0002.jpg", 0, "face"]]', r"lists no image of class 'leopard' \(label 1\)"),
        ('[["Faces/image_0001.jpg", 0, "face"], ["Leopards/image_0002.jpg", 1, "leopard"]]', "is listed 2 times"),
        ("{}", "malformed; a split file has the lists train, val and test"),
        ("[", "malformed"),
    ],
)
def test_a_wrong_split_file_is_named_with_its_entry(tmp_path, test, message):
    MINIATURES["caltech101"].build(tmp_path)
    path = tmp_path / "split_zhou_Caltech101.json"
    train = '[["Faces/image_0001.jpg", 0, "face"], ["Leopards/image_0001.jpg", 1, "leopard"]]'
    path.write_text(f'{{"train": {train}, "val": [], "test": {test}}}')
    with pytest.raises(ValueError, match=message) as raised:
        CATALOGUE["caltech101"].list_images(tmp_path)
    assert path.name in str(raised.value)


@pytest.mark.parametrize("name", ["eurosat", "caltech101"])
def test_an_empty_or_unknown_class_folder_is_named(tmp_path, name):
    known = MINIATURES[name]
    known.build(tmp_path)
    folder = tmp_path / known.images / Path(known.unused[-1]).parent
    for path in folder.iterdir():
        path.rename(path.with_name(f".{path.name}"))
    with pytest.raises(ValueError, match=f"{folder}: holds no image"):
        CATALOGUE[name].list_images(tmp_path)
    if name == "eurosat":
        write_image(tmp_path / "2750" / "Desert" / "Desert_1.jpg")
        with pytest.raises(ValueError, match="2750/Desert: unknown class; there are: AnnualCrop, Forest"):
            CATALOGUE[name].list_images(tmp_path)
