"""The command lines about entries: each has the same exit statuses, and prints one JSON object or one message."""

import json
import os
import shutil

import pytest

from stages import leaderboard, rescore, submit, verify
from stages.crafting.suite import VERSION
from stages.entries.record import ENTRIES, UncheckedError
from tests.entries.changed import Copy
from tests.imports import ROOT

VALID = {0: True, 1: False, 3: None}


def good(folder):
    return Copy(folder / "entry", "zero_shot").sign()


def bad(folder):
    copy = Copy(folder / "entry", "zero_shot")
    copy.result["adaptive"]["accuracy"] = 0.9
    return copy.sign()


def unchecked(folder):
    """An entry on a data set that is not here."""
    copy = Copy(folder / "entry", "zero_shot")
    copy.record["data"]["dataset"] = "flowers102"
    copy.remake(provenance={"dataset": "flowers102"})
    return copy.sign()


def of_a_newer(key, **changes):
    """Return what makes an entry of a newer version of the project, in a folder."""

    def make(folder):
        copy = Copy(folder / "entry", "zero_shot")
        copy.record.update({key: 999, **changes})
        return copy.sign()

    return make


def of_another_preset(folder):
    copy = Copy(folder / "entry", "zero_shot")
    copy.record["method"]["preset"] = "later"
    return copy.sign()


def fifo(folder):
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def nowhere(folder):
    return folder / "nowhere"


def above(make):
    """Return what makes an entry of that kind in a folder `mine`, and returns that folder."""

    def folder_of(folder):
        (folder / "mine").mkdir()
        return make(folder / "mine").parent

    return folder_of


def empty(folder):
    (folder / "mine").mkdir()
    return folder / "mine"


CHECKS = [(make, code, message) for make, code, message in (
    (good, 0, None),
    (bad, 1, "allow no more than"),
    (fifo, 2, "no such file or folder"),
    (nowhere, 2, "no such file or folder"),
    (unchecked, 3, "cannot be checked here"),
    (of_a_newer("suite"), 3, f"suite 999; the newest one here is {VERSION}: update the project"),
    (of_a_newer("format", more={}), 3, "format 999; the newest one here is 1: update the project"),
    (of_another_preset, 3, "preset 'later': there is none; there are: advpt, apt,"),
)]  # fmt: skip
CASES = [
    *((main, keys, make, code, message) for main, keys in ((verify.main, {"entry", "record"}),
      (rescore.main, {"entry", "record"})) for make, code, message in CHECKS),
    *((leaderboard.main, {"html", "csv", "rows"}, make, code, message) for make, code, message in (
        (above(good), 0, None),
        (above(bad), 1, "allow no more than"),
        (empty, 1, "no entry there"),
        (nowhere, 2, "no such folder"),
        (above(unchecked), 3, "cannot be checked here"),
    )),
]  # fmt: skip


def ended(capsys, main, *arguments):
    """Return the exit status of a command, and what it printed to both streams."""
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def check_printed(code, out, err, as_json, *, keys, message, expected):
    """Compare what a command has printed with what its status means."""
    assert code == expected and "Traceback" not in err
    if expected == 2 or not as_json:
        assert bool(out) == (expected == 0) and (message or "") in err
        return
    found = json.loads(out)
    assert set(found) == {*keys, "valid", "error"} and err == ""
    assert found["valid"] is VALID[expected] and (found["error"] is None) == (expected == 0)
    assert message is None or message in found["error"]


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "words"])
@pytest.mark.parametrize(("main", "keys", "make", "code", "message"), CASES)
def test_of_an_entry_or_a_board(tmp_path, capsys, main, keys, make, code, message, as_json):
    path = make(tmp_path)
    printed = ended(capsys, main, path, *["--json"][: int(as_json)])
    check_printed(*printed, as_json, keys=keys, message=message, expected=code)
    made = {one.name for one in tmp_path.iterdir()} - {path.name, "entry"}
    assert made == ({"mine.html", "mine.csv"} if main is leaderboard.main and code == 0 else set())


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "words"])
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fashion/all/tune_bank/nothing", "OUT"), 1, "no tune_bank/nothing"),
        (("fashion/all/tune_bank/advpt", "OUT"), 3, "cannot be checked here: model"),
        (("fashion/all/tune_bank/advpt", "OUT", "--preset", "later"), 1, "preset 'later': there is none"),
        (("fashion/all/tune_bank/advpt", "OUT", "--images", "0"), 2, "at least one is needed"),
        (("advpt", "OUT"), 2, "usage"),
        ((), 2, "usage"),
    ],
)
def test_submit(tmp_path, capsys, monkeypatch, arguments, code, message, as_json):
    if code == 3:
        monkeypatch.setattr(
            "stages.submit.pack", lambda *_, **__: fail(UncheckedError("cannot be checked here: model"))
        )
    arguments = [tmp_path / "out" if word == "OUT" else word for word in arguments]
    printed = ended(capsys, submit.main, *arguments, *["--json"][: int(as_json)])
    check_printed(*printed, as_json, keys={"entries"}, message=message, expected=code)
    assert not (tmp_path / "out").exists()


def test_submit_names_what_it_has_written_before_it_failed(capsys, monkeypatch):
    record = json.loads((ROOT / ENTRIES / "fashion-tiny-clip-advpt/entry.json").read_text())
    packed = iter([record])
    monkeypatch.setattr(
        "stages.submit.pack", lambda *_, **__: next(packed, None) or fail(ValueError("the second is bad"))
    )
    code, out, _ = ended(capsys, submit.main, "--all", "--json")
    found = json.loads(out)
    assert code == 1 and found["error"] == "the second is bad"
    assert [one["record"] for one in found["entries"]] == [record]


def fail(error):
    raise error


def test_a_board_that_fails_replaces_nothing(tmp_path, capsys):
    folder = above(good)(tmp_path)
    assert ended(capsys, leaderboard.main, folder)[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("mine.*")}
    shutil.rmtree(folder / "entry")
    bad(folder)
    assert ended(capsys, leaderboard.main, folder)[0] == 1
    assert len(before) == 2 and before == {path.name: path.read_bytes() for path in tmp_path.glob("mine.*")}


def test_a_fault_of_ours_keeps_its_traceback(capsys, monkeypatch):
    monkeypatch.setattr("stages.submit.pack", lambda *_, **__: [][0])
    with pytest.raises(IndexError):
        submit.main(["fashion/all/tune_bank/advpt", "out", "--json"])
    assert capsys.readouterr().out == ""
