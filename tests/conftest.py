"""What many tests share."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.banks.images import Images
from stages.models.clip import Clip, load_clip
from stages.params import load_params

ROOT = Path(__file__).parent.parent
pytest_plugins = ["tests.micro"]


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


@pytest.fixture
def shard() -> Images:
    """Twelve random images of 32 px in three classes."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (12, 32, 32, 3), np.uint8)
    return Images([f"test/{index}" for index in range(12)], np.arange(12) % 3, pixels)
