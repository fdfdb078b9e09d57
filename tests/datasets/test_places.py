"""What a folder holds: hidden files and leftovers do not count, links to folders are refused by name."""

import pytest

from stages.datasets.places import (
    MOST_NAMED,
    files_at,
    files_below,
    folders_in,
    images_in,
    names_passed_over,
    shortened,
)

LEFT = ["Thumbs.db", "a/desktop.ini", "a/._x.jpg", "__MACOSX", ".git", "a/b/.DS_Store", "a/ehthumbs.db", "a/THUMBS.DB"]


@pytest.fixture
def folder(tmp_path):
    for name in ("a/b/2.jpg", "a/1.jpg", "z.txt", "a/b/10.png", "__MACOSX/a/._x.jpg", ".git/HEAD"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in LEFT:
        if not (tmp_path / name).exists():
            (tmp_path / name).touch()
    return tmp_path


def test_files_that_count_in_a_stable_order(folder):
    expected = ["z.txt", "a/1.jpg", "a/b/10.png", "a/b/2.jpg"]
    assert [path.relative_to(folder).as_posix() for path in files_below(folder)] == expected
    assert list(files_at(folder)) == list(files_below(folder))


def test_the_others_are_named(folder):
    assert names_passed_over(folder) == sorted(LEFT)


def test_class_folders_and_their_images_follow_the_same_rule(folder):
    (folder / "a" / ".hidden.jpg").touch()
    assert folders_in(folder) == ["a"] and images_in(folder / "a") == ["1.jpg"]


@pytest.mark.parametrize("look", [lambda folder: list(files_below(folder)), folders_in, images_in])
def test_a_link_to_a_folder_is_refused_by_name_wherever_it_leads(folder, look, tmp_path):
    for target in ("a", "..", str(tmp_path)):
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to(target)
        with pytest.raises(ValueError, match=r"link: leads out of its folder to .* put the folder itself there"):
            look(folder)


def test_a_link_in_a_circle_is_a_file_like_one_to_nowhere(folder):
    for name in ("loop", "a/loop.jpg"):
        (folder / name).symlink_to((folder / name).name)
    assert [path.relative_to(folder).as_posix() for path in files_at(folder)][:3] == ["loop", "z.txt", "a/1.jpg"]
    assert folders_in(folder) == ["a"] and images_in(folder / "a") == ["1.jpg", "loop.jpg"]


def test_a_linked_folder_in_a_hidden_one_is_not_looked_at(folder):
    (folder / ".git" / "link").symlink_to("..")
    assert len(list(files_below(folder))) == 4


def test_the_outermost_folder_may_be_a_link(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("other") / "link"
    link.symlink_to(folder)
    assert len(list(files_below(link))) == 4 and names_passed_over(link) == sorted(LEFT)


@pytest.mark.parametrize(("count", "more"), [(1, None), (MOST_NAMED, None), (MOST_NAMED + 3, "  and 3 more")])
def test_a_long_list_is_shortened_and_says_so(count, more):
    lines = shortened([str(index) for index in range(count)]).split("\n")
    assert lines == [f"  {index}" for index in range(min(count, MOST_NAMED))] + ([more] if more else [])
