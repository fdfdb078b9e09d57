"""What the reliability tests share; all of them carry the mark `reliability`."""

from pathlib import Path

import pytest

from tests.micro import once
from tests.reliability.small import ORDER, Small, yaml


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("reliability")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Small:
    """The small run, finished; nobody may change it."""

    def make(folder: Path) -> None:
        small = Small.at(folder)
        for stage in ORDER:
            small.run(*stage)

    folder = once(tmp_path_factory, "undisturbed", make)
    return Small(folder, yaml.load(folder / "params.yaml"))


@pytest.fixture
def small(undisturbed, tmp_path) -> Small:
    """A copy of the finished run."""
    return undisturbed.copy(tmp_path / "run")
