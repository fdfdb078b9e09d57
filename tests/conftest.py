"""What many tests share."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.models.clip import Clip, load_clip, weights_digest
from stages.runtime.params import load_params
from stages.storage.images import Images, write_images

ROOT = Path(__file__).parent.parent
pytest_plugins = ["tests.micro"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--figures FILE` keeps what the tests have counted, as JSON."""
    parser.addoption("--figures", type=Path, help="where to write what the tests have counted")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that run DVC or Ray, which take longest, so that the workers end at about the same time."""
    items.sort(key=lambda item: not {"environment", "cluster"} & set(getattr(item, "fixturenames", ())))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Prints what the tests have counted, each figure summed over all tests."""
    figures: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        if report.when == "call":
            figures.update(dict(report.user_properties))
    for name, value in figures.items():
        terminalreporter.line(f"{name}: {value}")
    if path := config.getoption("--figures"):
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


for name in ("DVC_STAGE", "DVC_ROOT"):  # of whoever runs the tests; DVC sets them for its stages
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def top_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in the top folder, as the stages do."""
    monkeypatch.chdir(ROOT)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def clip() -> Clip:
    """The embedded CLIP."""
    model = load_params(ROOT / "params.yaml").model
    name = model.name.replace("local-dir:", f"local-dir:{ROOT}/")
    return load_clip(name, pretrained=None, sha256=model.sha256, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def vit() -> Clip:
    """The embedded CLIP whose image tower is a vision transformer."""
    name = f"local-dir:{ROOT}/data/embedded/tiny-vit"
    return load_clip(name, pretrained=None, sha256=weights_digest(name, None), device=torch.device("cpu"))


@pytest.fixture
def shard() -> Images:
    """Twelve random images of 32 px in three classes."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (12, 32, 32, 3), np.uint8)
    return Images([f"test/{index}" for index in range(12)], np.arange(12) % 3, pixels)


@pytest.fixture
def source(shard: Images, tmp_path: Path) -> Path:
    """A folder of them in four shards."""
    write_images(tmp_path / "source", shard.split(4), {"dataset": "d"})
    return tmp_path / "source"
