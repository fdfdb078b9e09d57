"""The leaderboard: what stands in which table and in which order, and the page in a real browser."""

import copy
import shutil
from io import StringIO

import pandas as pd
import pytest

from stages import leaderboard
from stages.entries.board import Row, board_csv, board_html, certified_bounds, front_figure, front_of, newest, tables_of
from stages.entries.record import ENTRIES, read_entry
from tests.browser import CHROMIUM
from tests.entries.changed import Copy
from tests.imports import ROOT
from tests.report.test_in_a_browser import assert_silent_and_as_wide_as_its_window, run_around

HOSTILE = "</script><script>document.title='pwned'</script><img src=http://example.org/a.png>"
RECORD = read_entry(ROOT / ENTRIES / "fashion-tiny-clip-advpt")
TRY = """
addEventListener('load', () => {
  const page = document.querySelector('iframe').contentDocument;
  const shown = () => [...page.querySelectorAll('table[data-model]')].filter(one => one.offsetHeight).map(
    table => [...table.tBodies[0].rows].filter(row => row.offsetHeight).length);
  const choose = (name, value) => {
    const control = page.querySelector(`[data-filter=${name}]`);
    control.value = value;
    control.dispatchEvent(new Event('input'));
    const found = shown();
    control.value = '';
    control.dispatchEvent(new Event('input'));
    return found;
  };
  document.body.textContent = JSON.stringify({all: shown(), method: choose('method', 'METHOD 1'),
    eps: choose('eps', '8/255'), suite: choose('suite', '1'), none: choose('method', 'nothing'), again: shown()});
});
"""


def row(
    label: str, adaptive: float, *, suite: int = 2, eps: float = 4, clean: float = 0.9, model: str = "m", **data: int
) -> Row:
    record = copy.deepcopy(RECORD)
    record["method"]["label"], record["suite"], record["model"]["name"] = label, suite, model
    record["data"] |= data
    result = copy.deepcopy(record["results"][0]) | {"eps": eps}
    result["adaptive"], result["clean"] = (
        {"accuracy": share, "low": max(0, share - 0.1), "high": min(1, share + 0.1)} for share in (adaptive, clean)
    )
    result["oblivious"]["accuracy"] = 0.8
    return Row(f"entry-{label}", record, result, "")


ROWS = [row("method 1", 0.3), row("method 2", 0.5, clean=0.8)]
ROWS += [row("method 3", 0.9, suite=1), row("method 4", 0.1, eps=8)]


@pytest.fixture(scope="module")
def html() -> str:
    tables = tables_of([*ROWS, row(HOSTILE, 0.2)])
    return board_html(tables, front_figure(newest(tables)))


def test_suites_are_never_mixed_and_the_most_robust_method_is_first():
    tables = tables_of(ROWS)
    assert [(table.suite, table.eps, table.is_current) for table in tables] == [
        (2, 4, True),
        (2, 8, True),
        (1, 4, False),
    ]
    assert [one.record["method"]["label"] for one in tables[0].rows] == ["method 2", "method 1"]
    assert tables[0].rows[0].gap == pytest.approx(0.3)


def test_models_have_tables_of_their_own():
    assert len(tables_of([row("a", 0.3), row("b", 0.4, model="n")])) == 2


def test_a_heading_names_weights_and_image_tower():
    one = row("a", 0.3, model="ViT-B-32")
    one.record["model"] |= {"pretrained": "openai", "visual_weights": "data/towers/fare.pt", "visual_sha256": "0"}
    assert [table.model for table in tables_of([one, row("b", 0.3, model="ViT-B-32")])] == [
        "ViT-B-32",
        "ViT-B-32 + openai + fare.pt",
    ]


def test_a_row_of_fewer_images_is_marked_and_behind():
    tables = tables_of([row("few", 0.9, n=10), row("many", 0.3, n=200), row("other draw", 0.9, n=200, seed=7)])
    assert [[one.record["method"]["label"] for one in table.rows] for table in tables] == [
        ["many", "few"],
        ["other draw"],
    ]
    page = board_html(tables, front_figure(newest(tables)))
    assert page.count("n = 10: fewer images than the others") == page.count("fewer images than the others</small>") == 1
    assert "fashion, draw 7, L∞" in page


def test_a_row_says_what_its_attack_was_allowed_and_is_marked_if_that_is_less():
    short = row("short", 0.9)
    short.attack.update(steps=16, restarts=1, targets=1, samples=4, queries=500)
    assert short.budget == "16 steps, 1 restart, 1 target, 4 draws, 500 queries"
    tables = tables_of([short, row("long", 0.3)])
    page = board_html(tables, front_figure(newest(tables)))
    assert page.count("500 queries: fewer steps than others)") == page.count("fewer steps than others") == 1
    assert "(32 steps, 2 restarts, 2 targets)" in page


def test_a_table_is_drawn_until_a_newer_suite_has_the_same():
    drawn = newest(tables_of([*ROWS, row("other model", 0.3, suite=1, model="n")]))
    assert [(table.model, table.eps, table.suite) for table in drawn] == [("m", 4, 2), ("m", 8, 2), ("n", 4, 1)]


def test_the_front_by_hand():
    assert front_of([(0.9, 0.3), (0.8, 0.5), (0.7, 0.4), (0.9, 0.2)]) == [(0.8, 0.5), (0.9, 0.3)]


def test_one_noise_level_gives_the_certified_bound_and_the_page_names_it(html):
    found = pd.DataFrame(
        {"prompts_sha256": "0", "sigma": [0.25, 0.1], "L2 0": [0.5, 0.4], "L2 0.1": [0.3, 0.2], "L2 0.5": [0.1, 0.0]}
    )
    assert certified_bounds(found) == {"0": "L2 0.1: 20.0"}
    assert "certified, σ = 0.1</th>" in html


def test_another_folder_is_rescored_and_its_board_is_written_beside_it(tmp_path):
    before = (ROOT / "reports/leaderboard.csv").read_bytes()
    good = Copy(tmp_path / "mine/good", "zero_shot")
    shutil.copytree(good.folder, tmp_path / "mine/twin")
    assert leaderboard.write_board(tmp_path / "mine") == {
        "html": str(tmp_path / "mine.html"),
        "csv": str(tmp_path / "mine.csv"),
        "rows": 4,
    }
    found = pd.read_csv(tmp_path / "mine.csv")
    assert set(found["entry"]) == {"good", "twin"} and found["certified"].eq("L2 0.1: 43.0; L2 0.2: 35.0").all()
    assert (tmp_path / "mine.html").is_file() and (ROOT / "reports/leaderboard.csv").read_bytes() == before

    bad = Copy(tmp_path / "mine/bad")
    bad.result["adaptive"]["accuracy"] = 0.9
    bad.sign()
    with pytest.raises(ValueError, match=r"mine/bad.*allow no more than"):
        leaderboard.write_board(tmp_path / "mine")


def test_a_bound_belongs_to_the_prompts_that_were_certified():
    certified = pd.read_csv(ROOT / "reports/certified.csv")
    for name, sha256 in zip(certified["method"], certified["prompts_sha256"], strict=True):
        record = read_entry(ROOT / ENTRIES / f"fashion-tiny-clip-{name}")
        assert record["files"]["prompts.safetensors"] == sha256


def test_the_committed_board_is_that_of_the_committed_entries():
    committed = pd.read_csv(ROOT / "reports/leaderboard.csv")
    rows = [
        Row(path.name, record, result, "")
        for path in sorted((ROOT / ENTRIES).iterdir())
        for record in [read_entry(path)]
        for result in record["results"]
    ]
    columns = ["entry", "eps", "suite", "clean", "oblivious", "adaptive", "gap", "n"]
    pd.testing.assert_frame_equal(pd.read_csv(StringIO(board_csv(tables_of(rows))))[columns], committed[columns])


in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")


@in_a_browser
@pytest.mark.parametrize("which", ["hostile", "8 models", "committed"])
def test_the_page_is_silent_alone_and_as_wide_as_its_window(html, tmp_path, which):
    if which == "hostile":
        page = html
    elif which == "committed":
        page = (ROOT / "reports/leaderboard.html").read_text(encoding="utf-8")
    else:
        tables = tables_of([row(f"method {i % 6}", i / 48, model=f"local-dir:a/model-{i // 6}") for i in range(48)])
        page = board_html(tables, front_figure(newest(tables)))
    assert_silent_and_as_wide_as_its_window(page, tmp_path)


@in_a_browser
def test_filters_work(html, tmp_path):
    found, _ = run_around(html, TRY, tmp_path, widths=(1000,))
    assert found == {"all": [3, 1, 1], "method": [1], "eps": [1], "suite": [1], "none": [], "again": [3, 1, 1]}
