"""The page in a real browser, as wide as a phone and as a desk: a silent console, no network, nothing cut off."""

import json
import re
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, NOWHERE, OPTIONS
from tests.imports import ROOT
from tests.report.studies import HOSTILE, page_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")
WIDTHS = (400, 1280)  # pixels; a window is at least 500 wide, a frame may be narrower
WATCHING = ("--enable-logging=stderr", "--disable-background-networking", "--window-size=1400,900")
MEASURE = """
const wide = frame => {
  const page = frame.contentDocument, left = page.documentElement.clientWidth;
  const cut = [...page.querySelectorAll('body *')].filter(
    one => !one.closest('.wide') && one.getBoundingClientRect().right > left + 1);
  return {width: frame.contentWindow.innerWidth, room: left, needed: page.documentElement.scrollWidth,
    cut: cut.map(one => one.tagName), pictures: [...page.images].map(one => one.complete && one.naturalWidth > 0),
    overflowing: [...page.querySelectorAll('.methods th, .methods td, .methods b, dd, li')].filter(
      one => one.scrollWidth > one.clientWidth + 1 && one.clientWidth).map(one => one.textContent),
    scrolling: [...page.querySelectorAll('.wide')].filter(one => one.scrollWidth > one.clientWidth + 1).map(
      one => one.tabIndex)};
};
addEventListener('load', () => {
  document.body.textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(wide));
});
"""


def run_around(html: str, script: str, folder: Path, *options: str, widths: tuple[int, ...]) -> tuple[object, str]:
    """Show a page in frames of some widths; return what a script makes of them, and what the browser logs."""
    frames = "".join(f'<iframe srcdoc="{escape(html)}" width="{width}" height="900"></iframe>' for width in widths)
    around = folder / "around.html"
    around.write_text(f'<!doctype html><meta charset="utf-8"><body>{frames}<script>{script}</script>', encoding="utf-8")
    command = [CHROMIUM, *OPTIONS, NOWHERE, f"--user-data-dir={folder / 'profile'}", "--dump-dom", *options]
    done = subprocess.run([*command, around.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(unescape(re.search("<body>(.*)</body>", done.stdout, re.DOTALL)[1])), done.stderr


def looked_at(html: str, folder: Path) -> tuple[list[dict], list[str]]:
    """What is measured of the page in frames of WIDTHS, and what the console says."""
    options = (*WATCHING, f"--log-net-log={folder / 'net.json'}")
    frames, logged = run_around(html, MEASURE, folder, *options, widths=WIDTHS)
    return frames, [line for line in logged.splitlines() if ":CONSOLE" in line]


def asked_for(folder: Path) -> list[str]:
    """The addresses that a page, not the browser itself, has asked the network for."""
    log = json.loads((folder / "net.json").read_text(encoding="utf-8"))
    asked = [event["params"] for event in log["events"] if "initiator" in event.get("params", {})]
    return [params["url"] for params in asked if params["initiator"] != "not an origin"]


def assert_silent_and_as_wide_as_its_window(html: str, folder: Path) -> None:
    """Nothing is said, asked for or cut off, and all pictures are drawn."""
    frames, console = looked_at(html, folder)
    assert console == [] and asked_for(folder) == []
    assert tuple(frame["width"] for frame in frames) == WIDTHS
    for frame in frames:
        assert frame["needed"] <= frame["room"] and frame["cut"] == frame["overflowing"] == []
        assert frame["pictures"] and all(frame["pictures"])


@pytest.fixture(scope="module")
def html() -> str:
    """A page on which every text is hostile."""
    return page_of(4, text=HOSTILE)


@pytest.fixture(params=["hostile", "4 methods", "20 methods", "committed"])
def report(request) -> str:
    """A page of test data, and the one in reports/."""
    if request.param == "committed":
        return (ROOT / "reports/index.html").read_text(encoding="utf-8")
    if request.param == "hostile":
        return request.getfixturevalue("html")
    return page_of(int(request.param.split()[0]), text=" of a long name, behind total_variation")


def test_the_page_is_silent_alone_and_as_wide_as_its_window(report, tmp_path):
    assert_silent_and_as_wide_as_its_window(report, tmp_path)


def test_what_scrolls_on_a_phone_has_the_keyboard(html, tmp_path):
    (phone, _), _ = looked_at(html, tmp_path)
    assert len(phone["scrolling"]) >= 2 and set(phone["scrolling"]) == {0}


def test_the_page_lets_no_script_run_and_nothing_load(html, tmp_path):
    """Were a name not escaped: the browser refuses, and says so, which the first test would see."""
    hostile = '<img src="http://example.org/a.png"><script>console.log("ran")</script></main>'
    _, console = looked_at(html.replace("</main>", hostile), tmp_path)
    assert console and not any('"ran"' in line for line in console)
    assert asked_for(tmp_path) == []


def test_without_its_guard_a_page_that_asks_and_talks_is_noticed(html, tmp_path):
    open_page = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    hostile = '<img src="http://example.org/a.png"><script>console.log("ran")</script></main>'
    frames, console = looked_at(open_page.replace("</main>", hostile), tmp_path)
    assert any('"ran"' in line for line in console)
    assert "http://example.org/a.png" in asked_for(tmp_path)
    assert not all(frames[0]["pictures"])


def test_a_page_that_is_too_wide_is_noticed(html, tmp_path):
    frames, _ = looked_at(html.replace("</main>", '<p style="width: 900px">wide</p></main>'), tmp_path)
    assert [frame["needed"] > frame["room"] for frame in frames] == [True, False]
    assert [frame["cut"] for frame in frames] == [["P"], []]
