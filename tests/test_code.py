"""Which code a stage depends on, and that it runs with no other."""

import sys
from types import SimpleNamespace

import pytest

from stages import code
from stages.code import digests_of
from stages.runtime.cli import code_as_noted
from stages.storage.notes import write_note


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A project of two scripts, one of which imports a file of a room."""
    (tmp_path / "stages/room").mkdir(parents=True)
    for name, text in {
        "one.py": "from stages.room.a import x\n\nif __name__ == '__main__':\n    command(main)\n\n# the end\n",
        "other.py": "if __name__ == '__main__':\n    command(main)\n",
        "tool.py": "print(1)\n",
        "room/a.py": "x = 1\n",
    }.items():
        (tmp_path / "stages" / name).write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(code, "STAGES", tmp_path / "stages")
    monkeypatch.chdir(tmp_path)
    code.imported_names.cache_clear()
    yield tmp_path / "stages"
    code.imported_names.cache_clear()


def test_scripts_are_found_whatever_stands_behind_their_last_line(source):
    assert code.scripts() == [source / "one.py", source / "other.py"]


def test_digests_are_of_a_script_and_what_it_imports(source):
    before = digests_of(source / "one.py")
    assert set(before) == {"stages/one.py", "stages/room/a.py"} and set(digests_of(source / "other.py")) == {
        "stages/other.py"
    }
    (source / "room/a.py").write_text("x = 2\n")
    after = digests_of(source / "one.py")
    assert [name for name in after if after[name] != before[name]] == ["stages/room/a.py"]


def test_a_broken_file_is_digested_and_left_to_who_imports_it(source):
    (source / "room/a.py").write_text("def (\n")
    assert set(digests_of(source / "one.py")) == {"stages/one.py", "stages/room/a.py"}


def test_a_relative_import_is_refused(source):
    (source / "one.py").write_text("from .room import a\n")
    with pytest.raises(ValueError, match=r"one\.py: line 1: a relative import"):
        digests_of(source / "one.py")


@pytest.fixture
def noted(source, monkeypatch):
    """The source as the stage `code` has noted it, and a stage that DVC runs."""
    (source.parent / "data/code").mkdir(parents=True)
    write_note(source.parent / "data/code/one.json", digests_of(source / "one.py"))
    monkeypatch.setenv("DVC_STAGE", "one@fashion")
    return source


def test_code_that_has_changed_is_refused_before_the_work(noted, monkeypatch):
    with code_as_noted("stages.one"):
        pass
    (noted / "room/a.py").write_text("x = 2\n")
    told = r"stages/room/a\.py: changed since the stage `code` has noted it"
    with pytest.raises(ValueError, match=told), code_as_noted("stages.one"):
        raise AssertionError("the work has begun")
    monkeypatch.delenv("DVC_STAGE")  # by hand, whatever one likes
    with code_as_noted("stages.one"):
        pass
    monkeypatch.setenv("DVC_STAGE", "one@fashion")
    (noted / "room/a.py").unlink()
    with pytest.raises(ValueError, match="changed since"), code_as_noted("stages.one"):
        pass


@pytest.mark.parametrize("is_read", [True, False])
def test_code_that_changes_during_the_work_counts_if_it_is_yet_to_be_read(noted, monkeypatch, is_read):
    if is_read:
        monkeypatch.setitem(sys.modules, "stages.room.a", SimpleNamespace(__file__=str(noted / "room/a.py")))

    def work():
        with code_as_noted("stages.one"):
            (noted / "room/a.py").write_text("x = 2\n")

    if is_read:
        work()
    else:
        with pytest.raises(ValueError, match="changed since"):
            work()
