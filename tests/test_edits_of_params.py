"""DVC's own edits of params.yaml, those of `dvc exp run -S`, leave YAML with the expected values."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

yaml = YAML(typ="safe")
yaml.default_flow_style = False  # in flow style libyaml takes no colon inside a word, as in local-dir:...
PARAMS = yaml.load(Path("params.yaml"))


def places(values: dict[str, Any], kind: type, above: str = "") -> list[str]:
    """Keys, joined by dots, of all values of a kind."""
    found = []
    for key, value in values.items():
        found += [above + key] * isinstance(value, kind)
        found += places(value, kind, f"{above}{key}.") if isinstance(value, dict) else []
    return found


def block_at(values: dict[str, Any], place: str) -> Any:
    for key in place.split("."):
        values = values[key]
    return values


def edited(tmp_path: Path, overrides: list[str]) -> dict[str, Any]:
    path = tmp_path / "params.yaml"
    shutil.copy("params.yaml", path)
    apply_overrides(path, overrides)
    return yaml.load(path)


@pytest.mark.parametrize("place", places(PARAMS, dict))
def test_all_keys_of_a_block_can_be_removed(tmp_path, place):
    expected = copy.deepcopy(PARAMS)
    block = block_at(expected, place)
    given = [
        f"{place}.{key}=0" for key, value in block.items() if value is None
    ]  # of these Hydra says they do not exist
    overrides = [*given, *(f"~{place}.{key}" for key in block)]
    block.clear()
    assert edited(tmp_path, overrides) == expected


@pytest.mark.parametrize("place", places(PARAMS, list))
@pytest.mark.parametrize("values", [[], [1], [1, 2, 3]], ids=str)
def test_a_list_can_become_shorter_and_longer(tmp_path, place, values):
    expected = copy.deepcopy(PARAMS)
    block_at(expected, place)[:] = values
    assert edited(tmp_path, [f"{place}={values}"]) == expected


@pytest.mark.parametrize("place", [place for place in places(PARAMS, dict) if "." not in place])
def test_a_block_can_get_one_more_key(tmp_path, place):
    expected = copy.deepcopy(PARAMS)
    block_at(expected, place)["added"] = {"method": "jpeg", "quality": 75}
    assert edited(tmp_path, [f"+{place}.added={{method: jpeg, quality: 75}}"]) == expected
