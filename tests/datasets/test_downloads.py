"""Downloads: through torchvision, or an answer that says what to put where."""

import subprocess
import sys

import pytest
from torchvision import datasets

from stages.datasets.catalogue import CATALOGUE
from tests.imports import ROOT

BY_TORCHVISION = {
    "flowers102": "Flowers102",
    "oxford_pets": "OxfordIIITPet",
    "food101": "Food101",
    "sun397": "SUN397",
    "dtd": "DTD",
    "eurosat": "EuroSAT",
    "caltech101": "Caltech101",
}
ARCHIVE = "torchvision.datasets.utils.download_and_extract_archive"
AIRCRAFT = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"


def failing(*_, **__):
    raise RuntimeError("File not found or corrupted.")


@pytest.mark.parametrize(("name", "other"), BY_TORCHVISION.items())
def test_torchvision_fills_the_raw_folder(tmp_path, monkeypatch, name, other):
    calls = []
    assert isinstance(getattr(datasets, other), type)
    monkeypatch.setattr(datasets, other, lambda *args, **named: calls.append((args, named)))
    CATALOGUE[name].download(tmp_path)
    assert calls == [((tmp_path,), {"download": True})]


@pytest.mark.parametrize(("name", "other"), BY_TORCHVISION.items())
def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch, name, other):
    monkeypatch.setattr(datasets, other, failing)
    message = (
        rf"{tmp_path}: the download of torchvision\.datasets\.{other} failed \(File not found.*by hand what https://"
    )
    with pytest.raises(ValueError, match=message):
        CATALOGUE[name].download(tmp_path)


def test_the_archive_of_the_aircraft_has_a_digest(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(ARCHIVE, lambda *args, **named: calls.append((args, named)))
    CATALOGUE["fgvc_aircraft"].download(tmp_path)
    assert calls == [((AIRCRAFT, tmp_path), {"md5": "d4acdd33327262359767eeaa97a4f732"})]
    monkeypatch.setattr(ARCHIVE, failing)
    with pytest.raises(ValueError, match=f"the download of {AIRCRAFT} failed"):
        CATALOGUE["fgvc_aircraft"].download(tmp_path)


@pytest.mark.parametrize(
    ("name", "what", "page"),
    [
        ("ucf101", "UCF-101-midframes/", "https://github.com/KaiyangZhou/CoOp"),
        ("stanford_cars", "cars_train/, cars_test/, devkit/", "https://github.com/KaiyangZhou/CoOp"),
        ("imagenet", "train/ and val/", "https://image-net.org"),
        ("imagenet_v2", "imagenetv2-matched-frequency-format-val/", "https://github.com/modestyachts/ImageNetV2"),
        ("imagenet_sketch", "sketch/", "https://github.com/HaohanWang/ImageNet-Sketch"),
        ("imagenet_a", "imagenet-a/", "https://github.com/hendrycks/natural-adv-examples"),
        ("imagenet_r", "imagenet-r/", "https://github.com/hendrycks/imagenet-r"),
    ],
)
def test_what_only_a_person_can_get_is_said(tmp_path, name, what, page):
    with pytest.raises(ValueError, match=f"{tmp_path}: no images, .* put {what}.* there, from {page}"):
        CATALOGUE[name].download(tmp_path)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_template_has_one_place_for_the_class(name):
    assert CATALOGUE[name].template.format("cat").count("cat") == 1
    assert CATALOGUE[name].template.endswith(".")


def test_no_tensor_library_is_imported_before_a_download():
    libraries = {"torch", "torchvision", "open_clip", "timm"}
    program = f"import stages.datasets.catalogue, sys; assert not {libraries} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
