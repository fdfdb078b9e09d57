"""`python -m stages.verify`: archives, exit statuses and JSON; nothing is written outside a temporary folder."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from stages import verify
from stages.entries.archive import unpacked
from stages.entries.record import ENTRIES
from tests.entries.changed import Copy
from tests.imports import ROOT

ENTRY = ROOT / ENTRIES / "fashion-tiny-clip-advpt"


def status(*arguments):
    with pytest.raises(SystemExit) as end:
        verify.main([str(argument) for argument in arguments])
    return end.value.code


@pytest.mark.parametrize("kind", ["gztar", "zip"])
@pytest.mark.parametrize("inside", [".", ENTRY.name])
def test_a_good_archive(tmp_path, capsys, kind, inside):
    top = ENTRY if inside == "." else ENTRY.parent
    archive = shutil.make_archive(str(tmp_path / "entry"), kind, top, inside)
    assert status(archive, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] and found["record"]["method"]["name"] == "advpt"


@pytest.mark.parametrize(
    "model",
    [
        {"name": "local-dir:data/embedded/nowhere"},
        {"name": "hf-hub:nobody/nothing"},
        {"name": "ViT-B-32", "pretrained": "openai"},
        {"visual_weights": "nowhere.pt", "visual_sha256": "0" * 64},
        {"sha256": "0" * 64},
    ],
    ids=str,
)
def test_a_model_that_is_not_here_is_not_called_a_forgery_and_not_fetched(tmp_path, capsys, monkeypatch, model):
    asked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **_: asked.append(arguments))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    copy = Copy(tmp_path / "entry")
    copy.record["model"] |= model
    copy.remake(provenance={"model": copy.record["model"]})
    assert status(copy.sign(), "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is None and "cannot be checked here" in found["error"]
    assert ("--fetch" in found["error"]) == ("name" in model and "nowhere" not in model["name"]) and not asked


def test_outside_the_project(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status(ENTRY, "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is None and "run from the top folder" in found["error"]


def test_what_nobody_foresaw_is_one_message_without_advice_about_the_pipeline(tmp_path, capsys, monkeypatch):
    copy = Copy(tmp_path / "entry")
    (copy.images_folder / "00000.parquet").write_bytes(b"")
    assert status(copy.sign(), "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert "it is empty; pack the entry again, or ask its author" in error and "dvc" not in error
    monkeypatch.setattr("stages.entries.checking.rescore", lambda *arguments, **options: [][0])
    assert status(ENTRY, "--json") == 1
    assert "could not be read: IndexError" in json.loads(capsys.readouterr().out)["error"]


def archive_of(files, path):
    """An archive of files with any names, in the order of the pairs."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files:
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "name", ["../entry.json", "/entry.json", "a/../../entry.json", "C:\\entry.json", "a\x1b[31m", ".hidden", "a//b"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_hostile_names(tmp_path, name, kind):
    path = archive_of([(name, b"{}")], tmp_path / f"outer/entry.{kind}")
    with pytest.raises(ValueError, match="in the archive"), unpacked(path):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["outer"]


def test_a_link_in_a_tar(tmp_path):
    path = tmp_path / "entry.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("entry.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ValueError, match="no regular file"), unpacked(path):
        pass


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("entry.json", b"{}"), ("Entry.json", b"{}")], "twice"),
        ([(f"images/{number}", b"") for number in range(10_001)], "10001 files; at most 10000"),
        ([("a", bytes(6_000)), ("b", bytes(6_000))], "12000 bytes; at most 10000"),
        ([("a", b"")], r"0 files entry.json"),
    ],
    ids=["a name twice", "too many files", "a bomb", "no entry"],
)
def test_a_zip_with_other_files_than_those_of_an_entry(tmp_path, monkeypatch, files, message):
    monkeypatch.setattr("stages.entries.archive.LARGEST", 10_000)
    with pytest.raises(ValueError, match=message), unpacked(archive_of(files, tmp_path / "entry.zip")):
        pass


@pytest.mark.parametrize("kind", ["gztar", "zip"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_a_truncated_archive(tmp_path, kind, share):
    path = tmp_path / "cut"
    whole = Path(shutil.make_archive(str(tmp_path / "entry"), kind, ENTRY)).read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert status(path) == 1


def test_no_archive_is_one_line(tmp_path, capsys):
    (tmp_path / "text").write_text("hello")
    assert status(tmp_path / "text") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no archive of an entry (file could not be opened successfully)" in line


def test_a_long_name_makes_no_long_message(tmp_path, capsys):
    assert status(archive_of([("a" * 60_000, b"")], tmp_path / "entry.zip"), "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert len(error) < 1100 and error.endswith("a name like images/eps4/00000.parquet is allowed")
