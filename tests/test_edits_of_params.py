"""DVC's own edits of params.yaml, those of `dvc exp run -S`, leave YAML with the expected values."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from tests.runtime.test_params import COMMITTED, places, yaml


def block_at(values: dict[str, Any], place: str) -> Any:
    for key in place.split("."):
        values = values[key]
    return values


def edited(tmp_path: Path, overrides: list[str]) -> dict[str, Any]:
    path = tmp_path / "params.yaml"
    shutil.copy("params.yaml", path)
    apply_overrides(path, overrides)
    return yaml.load(path)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_all_keys_of_blocks_can_be_removed(tmp_path, depth):
    blocks = [(at, block) for at, block in places(COMMITTED) if isinstance(block, dict) and at.count(".") + 1 == depth]
    expected, overrides = copy.deepcopy(COMMITTED), []
    for place, block in blocks:
        overrides += [f"{place}.{key}=0" for key, value in block.items() if value is None]  # Hydra says: do not exist
        overrides += [f"~{place}.{key}" for key in block]
        block_at(expected, place).clear()
    assert overrides and edited(tmp_path, overrides) == expected


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3]], ids=str)
def test_lists_can_become_shorter_and_longer(tmp_path, values):
    lists = [place for place, value in places(COMMITTED) if isinstance(value, list)]
    expected = copy.deepcopy(COMMITTED)
    for place in lists:
        block_at(expected, place)[:] = values
    assert lists and edited(tmp_path, [f"{place}={values}" for place in lists]) == expected


def test_blocks_can_get_one_more_key(tmp_path):
    blocks = [key for key, value in COMMITTED.items() if isinstance(value, dict)]
    expected = copy.deepcopy(COMMITTED)
    for place in blocks:
        expected[place]["added"] = {"method": "jpeg", "quality": 75}
    overrides = [f"+{place}.added={{method: jpeg, quality: 75}}" for place in blocks]
    assert edited(tmp_path, overrides) == expected
