"""A real browser without a window, where one is installed."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000")
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND"  # a page that asks the network for something gets nothing


def shown(page: Path, profile: Path) -> str:
    """The document as it is after its scripts ran; fails if a dialog (`alert`) waits for an answer."""
    command = [CHROMIUM, *OPTIONS, NOWHERE, f"--user-data-dir={profile}", "--dump-dom", page.absolute().as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{page}: a dialog waits for an answer, or the browser does not end") from error
    return done.stdout


class Document(HTMLParser):
    """What a page is made of.

    Attributes:
        tags: Names of all elements.
        attributes: Names and values of all attributes.
        texts: All that is text.
        scripts: The content of all script elements.
        title: What stands in the title.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.title = ""
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.tags and self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.texts.append(data)
            if self.tags and self.tags[-1] == "title":
                self.title += data
