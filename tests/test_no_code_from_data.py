"""Names and texts of a data set stay data: through real DVC, every stage, every format and a real browser."""

import csv
import json
import re
from html import unescape
from pathlib import Path

import pytest
from safetensors import safe_open

from stages.storage.images import read_all_images
from stages.storage.layout import card_file, index_file, oblivious_images, predictions_file, prompts_file
from stages.storage.parquet import read_table
from tests.browser import CHROMIUM, Document, shown
from tests.hostile import FILES, NAMES, TEMPLATE, write_hostile
from tests.micro import METHODS, Project
from tests.models.random_models import PREPROCESS, TEXT, VIT, random_model, save_model

pytestmark = pytest.mark.reliability
MODEL = {"embed_dim": 32, "vision_cfg": {**VIT, "image_size": 32, "patch_size": 16}, "text_cfg": TEXT}
CLASS_NAMES = [NAMES[folder] for folder in sorted(NAMES)]
PICKLES = (
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
    b"PK\x03\x04",
    b"(lp",
    b"(dp",
    b"]q",
    b"}q",
    b"\x93NUMPY",
)
IN_A_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A home folder of one file, which everything takes for the user's."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "kept.txt").write_text("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def hostile(fresh) -> Project:
    """The micro project with the hostile data set, reproduced, with DVC's own page of plots."""
    write_hostile(fresh.folder / "data/raw/hostile")
    digest = save_model(fresh.folder / "data/model", random_model(MODEL), MODEL, PREPROCESS)
    fresh.change(datasets=["hostile"], model__name="local-dir:data/model", model__sha256=digest)
    fresh.change(data__shots="all", data__test_images="all", attack__steps=1, tune__epochs=1, tune__tuning_seeds=1)
    pgd = {"method": "feature_pgd", "objective": "kl", "eps": 8, "steps": 1, "step_ratio": 1.0}
    fresh.change(oblivious={"pgd_eps8": pgd}, adaptive__adaptive_eps4__steps=1, assess__images=2)
    assert "plot" in fresh.repro()
    fresh.run("git", "add", ".")
    fresh.run("git", "commit", "-qm", "hostile")
    fresh.run("dvc", "plots", "show", "-o", "shown")
    fresh.run("dvc", "plots", "diff", "-o", "differing", "HEAD")
    return fresh


@pytest.fixture(params=["reports", "shown", "differing"])
def page(request, hostile):
    """The report, then both pages of `dvc plots`."""
    return hostile.folder / request.param / "index.html"


def test_no_name_became_a_command(hostile, home):
    raw = hostile.folder / "data/raw"
    made = [path for path in hostile.folder.rglob("*pwned*") if not path.is_relative_to(raw)]
    assert made == [] and list(home.rglob("*pwned*")) == []
    assert (home / "kept.txt").read_text() == "kept"
    assert {path.name for path in home.iterdir()} <= {"kept.txt", ".cache", ".config"}
    assert {path.name for path in (raw / "hostile/train/script").iterdir()} == set(FILES)


def test_class_names_come_back_unchanged_from_json_and_safetensors(hostile):
    card = json.loads((hostile.folder / card_file("hostile")).read_text())
    assert card["class_names"] == CLASS_NAMES and card["template"] == TEMPLATE
    for method in METHODS:
        with safe_open(hostile.folder / prompts_file("hostile", "all", *method), "numpy") as file:
            assert json.loads(file.metadata()["prompts"])["class_names"] == CLASS_NAMES


def test_file_names_come_back_unchanged_from_parquet(hostile):
    ids = {f"test/{folder}/{file}" for folder in NAMES for file in FILES[:2]}
    predictions = predictions_file("hostile", "all", "tune_bank", "advpt", "oblivious")
    assert set(read_table(hostile.folder / predictions)[0]["id"].to_pylist()) == ids
    assert set(read_all_images(hostile.folder / oblivious_images("hostile", "pgd_eps8")).ids) == ids
    index = read_table(hostile.folder / index_file("hostile"))[0]
    assert set(index["id"].to_pylist()) == ids | {f"train/{folder}/{file}" for folder in NAMES for file in FILES}


def assert_names_in_text(document: Document, classes: Path) -> None:
    """The page names, for each method, the class that loses most on clean images."""
    lines = [line for line in csv.DictReader(classes.read_text().splitlines()) if line["threat"] == "clean"]
    worst = {}
    for line in sorted(lines, key=lambda line: -float(line["gain"])):
        if float(line["gain"]) < 0:
            worst[line["method"]] = unescape(line["class"])
    assert worst and set(worst.values()) <= set(CLASS_NAMES)
    for name in worst.values():
        assert f"“{name}”" in document.text


def test_the_report_holds_class_names_as_text_alone(hostile):
    document = Document((hostile.folder / "reports/index.html").read_text())
    assert_harmless(document)
    assert "script" not in document.tags
    assert_names_in_text(document, hostile.folder / "reports/classes.csv")


def test_the_page_of_dvc_holds_class_names_as_data_alone(hostile):
    """Its scripts are DVC's own: the libraries, then one specification for each table."""
    for folder in ("shown", "differing"):
        document = Document((hostile.folder / folder / "index.html").read_text())
        assert_harmless(document)
        specs = [json.loads(found) for found in re.findall(r"var spec = (.*);\n", "".join(document.scripts))]
        assert len(specs) == 3 and document.tags.count("script") == 6
        values = [line for spec in specs for line in spec["data"]["values"] if "actual" in line]
        assert {unescape(line["actual"]) for line in values} == set(CLASS_NAMES)


@IN_A_BROWSER
def test_a_browser_runs_no_name(page, tmp_path):
    """No dialog waits, no title changed, no element is new, and the names stand there as text."""
    document = Document(shown(page, tmp_path))
    assert_harmless(document)
    if page.parent.name == "reports":
        assert_names_in_text(document, page.with_name("classes.csv"))


@IN_A_BROWSER
@pytest.mark.parametrize("name", [name for name in (*NAMES.values(), TEMPLATE) if "pwned'" in name])
def test_a_browser_runs_the_same_names_where_nothing_escapes_them(name, tmp_path):
    """So the test above can fail."""
    (tmp_path / "page.html").write_text(f"<!doctype html><title>DVC Plot</title><p>{name}</p>")
    document = Document(shown(tmp_path / "page.html", tmp_path / "profile"))
    assert document.title == "pwned"
    with pytest.raises(AssertionError):
        assert_harmless(document)


def test_no_artefact_is_a_pickle(hostile):
    files = [path for folder in ("data", "reports", ".dvc") for path in (hostile.folder / folder).rglob("*")]
    files = [path for path in files if path.is_file() and not path.is_relative_to(hostile.folder / "data/embedded")]
    assert len(files) > 60
    assert [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin", ".npy", ".npz")] == []
    assert [path for path in files if path.read_bytes().startswith(PICKLES)] == []


def assert_harmless(document: Document) -> None:
    """Nothing of the page is code from a name: no new title, no event, no foreign picture, no script with an alert."""
    assert document.title.strip() in ("Adversarial prompt tuning: results", "DVC Plot")
    assert [name for name, _ in document.attributes if name.startswith("on")] == []
    sources = [value for name, value in document.attributes if name == "src"]
    assert "x" not in sources
    assert [script for script in document.scripts if re.match(r"\s*(alert|document\.title)", script)] == []
