"""fetch: one run names every bad file and link; an experiment elsewhere uses the images of the workspace."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from stages.fetch import main
from tests.datasets.miniatures import MINIATURES
from tests.fuzz.images import encoded
from tests.imports import ROOT

GENERATOR = np.random.default_rng(0)


def drawn(kind="PNG", size=(32, 32), **options) -> bytes:
    """A random image as a file."""
    return encoded(GENERATOR.integers(0, 256, (*size, 3), np.uint8), kind, **options)


BAD = {
    "empty.jpg": b"",
    "text.jpg": b"I am a photograph.\n" * 40,
    "truncated.jpg": drawn("JPEG")[:300],
    "animated.gif": drawn("GIF", save_all=True, append_images=[Image.new("RGB", (32, 32))]),
    "tiny.png": drawn(size=(8, 8)),
    "oblong.png": drawn(size=(16, 400)),
    "notes.txt": b"bought in May",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def mine(project):
    raw = project / "data/raw/mine"
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (raw / split / name).mkdir(parents=True)
            for index in range(count):
                (raw / split / name / f"{index}.png").write_bytes(drawn())
    return raw


def test_one_run_names_all_bad_files_and_what_is_passed_over(project, mine):
    for index, (name, content) in enumerate(BAD.items()):
        (mine / ("train", "test")[index % 2] / "cat" / name).write_bytes(content)
    (mine / "train/dog/empty.jpg").write_bytes(b"")
    for double in ("train/cat/double.png", "test/dog/double.png"):
        (mine / double).write_bytes((mine / "train/dog/0.png").read_bytes())
    (mine / "test/cow").mkdir()
    (mine / "test/cow/bad.png").write_bytes(b"moo")
    (mine / "classes.json").write_text("{")
    (mine / "train/dog/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (project / "secret.png").write_bytes(drawn())
    (mine / "train/dog/out.png").symlink_to(project / "secret.png")
    (mine / "train/dog/nowhere.png").symlink_to("missing.png")
    (mine / "train/dog/loop.png").symlink_to("loop.png")
    (mine / "train/dog/in").symlink_to("../cat")
    (mine / "train/linked").symlink_to("cat")
    with pytest.raises(ValueError, match=f"{len(BAD) + 5} of {len(BAD) + 19} images cannot be used; mend or") as caught:
        main("mine")
    lines = str(caught.value).split("\n")
    assert all(sum(f"/cat/{name}: " in line for line in lines) == 1 for name in BAD)
    for fault in (
        "data/raw/mine: 4 files or folders do not fit; ",
        "train/linked: leads out of its folder to ",
        "train/dog/in: leads out of its folder to ",
        "train/dog/out.png: leads out of data/raw/mine to ",
        "train/dog/nowhere.png: no whole image (a link to missing.png, missing or in a circle)",
        "train/dog/loop.png: no whole image (a link to loop.png, missing or in a circle)",
        "test/cow: 'cow' is missing from data/raw/mine/train; every class needs images to tune on",
        "classes.json: no readable JSON",
        "train/dog/empty.jpg: no whole image (empty); allowed are ",
        "test/cow/bad.png: ",
        "test/dog/double.png = train/cat/double.png",
        "train/dog/0.png = train/cat/double.png",
    ):
        assert any(fault in line for line in lines), fault
    assert lines[-2:] == ["1 passed over, hidden or left behind by the system:", "  train/dog/Thumbs.db"]
    assert not (mine.parents[1] / "index/mine.parquet").exists()


def test_so_does_one_that_holds_a_share_out(mine):
    """The share is drawn by the contents, so that all images are read before any is decoded."""
    shutil.rmtree(mine / "test")
    for name in ("0.png", "1.png", "2.png", "3.png"):
        (mine / "train/cat" / name).unlink()
        os.mkfifo(mine / "train/cat" / name)
    (mine / "train/dog/0.png").write_bytes(b"")
    with pytest.raises(ValueError, match="5 of 8 images cannot be used") as caught:
        main("mine")
    assert all(f"{name}.png: no whole image" in str(caught.value) for name in ("cat/0", "cat/3", "dog/0"))


def test_a_long_list_of_bad_files_is_cut(mine):
    for index in range(25):
        (mine / "train/cat" / f"bad{index:02d}.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"25 of 37 images cannot be used(.|\n)*bad19\.jpg(.|\n)*\n  and 5 more$"
    ) as caught:
        main("mine")
    assert "bad20.jpg" not in str(caught.value)


def test_what_is_passed_over_is_named_and_changes_nothing(mine):
    main("mine")
    cards = mine.parents[1] / "cards/mine.json"
    before = cards.read_bytes()
    (mine / "test/cat/desktop.ini").touch()
    assert "1 passed over, hidden or left behind by the system:\n  test/cat/desktop.ini" in main("mine")
    assert cards.read_bytes() == before


def test_a_damaged_file_of_a_published_data_set_says_how_to_go_on(project):
    raw = project / "data/raw/dtd"
    MINIATURES["dtd"].build(raw)
    listed = {path for path, _ in MINIATURES["dtd"].train + MINIATURES["dtd"].test}
    image = raw / MINIATURES["dtd"].images / sorted(listed)[0]
    image.write_bytes(image.read_bytes()[:-9])
    message = (
        r"1 of \d+ images cannot be used; the lists of a published data set name .* get them again from Describable"
    )
    with pytest.raises(ValueError, match=message) as caught:
        main("dtd")
    assert "or empty data/raw/dtd and run `dvc repro`" in str(caught.value) and image.name in str(caught.value)


def test_links_that_cannot_be_followed_are_all_named_and_nothing_is_downloaded(project):
    (project / "secret.png").write_bytes(drawn())
    raw = project / "data/raw/dtd"
    (raw / "images").mkdir(parents=True)
    (raw / "out.png").symlink_to(project / "secret.png")
    (raw / "images/nowhere.png").symlink_to("missing.png")
    (raw / "images/loop.png").symlink_to("loop.png")
    (raw / "images/in.png").symlink_to("0.png")
    (raw / "images/0.png").write_bytes(drawn())
    with pytest.raises(ValueError, match="3 links that cannot be followed") as caught:
        main("dtd")
    for fault in (
        "dtd/out.png: leads out of ",
        "images/nowhere.png: cannot be read (a link to missing.png, missing or in a circle)",
        "images/loop.png: cannot be read (a link to loop.png, missing or in a circle)",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["dtd", "mine"])
def test_linked_folders_are_refused_before_a_download(project, name):
    (project / "pool").mkdir()
    raw = project / "data/raw" / name
    raw.mkdir(parents=True)
    (raw / "images").symlink_to(project / "pool")
    with pytest.raises(
        ValueError, match=rf"{name}/images: leads out of its folder to .*/pool; .* put the folder itself"
    ):
        main(name)


def test_a_data_set_may_be_a_link_and_a_broken_one_is_named(project, mine):
    mine.rename(project / "pool")
    mine.symlink_to(project / "pool")
    assert "8 + 4 images" in main("mine")
    shutil.rmtree(project / "pool")
    (project / "data/raw/dtd").symlink_to(project / "pool")
    with pytest.raises(ValueError, match=r"data/raw/dtd: a link to .*pool, missing or in a circle; mount"):
        main("dtd")
    (project / "data/raw/food101").symlink_to("food101")
    with pytest.raises(ValueError, match=r"data/raw/food101: a link to food101, missing or in a circle; mount"):
        main("food101")


def test_an_experiment_elsewhere_links_to_the_images_of_the_workspace(project, mine, monkeypatch):
    elsewhere = project / "elsewhere"
    shutil.copytree(ROOT / "data/embedded", elsewhere / "data/embedded")
    shutil.copy(ROOT / "params.yaml", elsewhere)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert "8 + 4 images" in main("mine")
    assert (elsewhere / "data/raw/mine").readlink() == mine
    main("fashion")  # not there yet: comes into the workspace, for the next one, too
    assert (project / "data/raw/fashion/train.parquet").is_file()
    assert not list((project / "data/raw").glob(".*"))
    with pytest.raises(ValueError, match=r"no data set called 'others'.*--allow-missing"):
        main("others")
    assert not (project / "data/raw/others").exists()
