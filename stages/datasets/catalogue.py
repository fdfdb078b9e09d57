"""The data sets that the pipeline knows by name; any other name is a folder of the user's own images."""

from functools import partial
from pathlib import Path

from stages.datasets import embedded, imagenet, official
from stages.datasets.downloads import by_archive, by_hand, by_torchvision
from stages.datasets.folder import folder_source
from stages.datasets.listing import Source
from stages.datasets.published import published
from stages.datasets.splits import COOP_PAGE

UNSTATED = "none stated; published for research"
AIRCRAFT = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"
AIRCRAFT_MD5 = "d4acdd33327262359767eeaa97a4f732"  # of the archive of 2013, as other projects check it

CATALOGUE = {
    **embedded.SOURCES,  # in this repository
    **imagenet.SOURCES,
    "caltech101": published(
        "a photo of a {}.",
        origin="Caltech 101 (Fei-Fei et al., 2004)",
        page="https://data.caltech.edu/records/mzrjq-6wc02",
        licence="CC BY 4.0",
        folders=("101_ObjectCategories", "caltech101/101_ObjectCategories", "caltech-101/101_ObjectCategories"),
        official=official.caltech101,
        coop="split_zhou_Caltech101.json",
        download=partial(by_torchvision, name="Caltech101"),
    ),
    "dtd": published(
        "{} texture.",
        origin="Describable Textures (Cimpoi et al., 2014)",
        page="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        licence=UNSTATED,
        folders=("images", "dtd/images", "dtd/dtd/images"),
        official=official.dtd,
        coop="split_zhou_DescribableTextures.json",
        download=partial(by_torchvision, name="DTD"),
    ),
    "eurosat": published(
        "a centered satellite photo of {}.",
        origin="EuroSAT (Helber et al., 2019)",
        page="https://github.com/phelber/EuroSAT",
        licence="MIT; contains Copernicus Sentinel data",
        folders=("2750", "eurosat/2750"),
        official=official.eurosat,
        coop="split_zhou_EuroSAT.json",
        download=partial(by_torchvision, name="EuroSAT"),
    ),
    "fgvc_aircraft": published(
        "a photo of a {}, a type of aircraft.",
        origin="FGVC-Aircraft (Maji et al., 2013)",
        page=AIRCRAFT,
        licence="for non-commercial research only",
        folders=("images", "data/images", "fgvc-aircraft-2013b/data/images"),
        official=official.fgvc_aircraft,
        download=partial(by_archive, url=f"{AIRCRAFT}archives/fgvc-aircraft-2013b.tar.gz", md5=AIRCRAFT_MD5),
    ),
    "flowers102": published(
        "a photo of a {}, a type of flower.",
        origin="Oxford Flowers 102 (Nilsback and Zisserman, 2008)",
        page="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        licence=UNSTATED,
        folders=("jpg", "flowers-102/jpg"),
        official=official.flowers102,
        coop="split_zhou_OxfordFlowers.json",
        download=partial(by_torchvision, name="Flowers102"),
    ),
    "food101": published(
        "a photo of {}, a type of food.",
        origin="Food-101 (Bossard et al., 2014)",
        page="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        licence="images from Foodspotting, whose terms hold; published for research",
        folders=("images", "food-101/images"),
        official=official.food101,
        coop="split_zhou_Food101.json",
        download=partial(by_torchvision, name="Food101"),
    ),
    "oxford_pets": published(
        "a photo of a {}, a type of pet.",
        origin="Oxford-IIIT Pets (Parkhi et al., 2012)",
        page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        licence="CC BY-SA 4.0",
        folders=("images", "oxford-iiit-pet/images"),
        official=official.oxford_pets,
        coop="split_zhou_OxfordPets.json",
        download=partial(by_torchvision, name="OxfordIIITPet"),
    ),
    "stanford_cars": published(
        "a photo of a {}.",
        origin="Stanford Cars (Krause et al., 2013)",
        page=COOP_PAGE,
        licence="for non-commercial research only",
        folders=("cars_train", "stanford_cars/cars_train"),
        above=True,
        official=official.stanford_cars,
        coop="split_zhou_StanfordCars.json",
        download=partial(by_hand, what="cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat"),
    ),
    "sun397": published(
        "a photo of a {}.",
        origin="SUN397 (Xiao et al., 2010)",
        page="https://vision.princeton.edu/projects/2010/SUN/",
        licence=UNSTATED,
        folders=("SUN397",),
        official=official.sun397,
        coop="split_zhou_SUN397.json",
        download=partial(by_torchvision, name="SUN397"),
    ),
    "ucf101": published(
        "a photo of a person doing {}.",
        origin="UCF101 (Soomro et al., 2012), https://www.crcv.ucf.edu/data/UCF101.php, CoOp's middle frames",
        page=COOP_PAGE,
        licence=UNSTATED,
        folders=("UCF-101-midframes",),
        official=official.ucf101,
        coop="split_zhou_UCF101.json",
        download=partial(by_hand, what="UCF-101-midframes/ (of UCF-101-midframes.zip) and split_zhou_UCF101.json"),
    ),
}


def source_of(name: str, raw: Path, *, held_out: float) -> Source:
    """Look a data set up, first in the catalogue, then among the user's folders; see `folder_source` for `held_out`."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    if not raw.is_dir():
        raise ValueError(
            f"datasets: no data set called {name!r} and no folder {raw} with images of your own; the catalogue has: "
            f"{', '.join(CATALOGUE)}. If the folder lies on another machine, copy it; what needs no raw image runs "
            "with `--allow-missing`"
        )
    return folder_source(raw, held_out=held_out)
