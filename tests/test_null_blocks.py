"""A key of params.yaml with nothing behind it: one message that names the key."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.runtime.params import load_params

yaml = YAML(typ="safe", pure=True)
yaml.default_flow_style = False  # in flow style libyaml takes no colon inside a word, as in local-dir:...
PARAMS = yaml.load(Path("params.yaml"))
PARAMS["methods"]["defended"] = {"advpt_jpeg": {"method": "advpt", "defence": {"kind": "jpeg", "quality": 75}}}


def containers(value: Any, key: tuple = ()) -> Iterator[tuple]:
    """The keys of all blocks and lists."""
    if isinstance(value, dict | list):
        yield key
    if isinstance(value, dict):
        for name, below in value.items():
            yield from containers(below, (*key, name))


@pytest.mark.parametrize("key", [key for key in containers(PARAMS) if key], ids=".".join)
def test_an_empty_block_or_list_is_named_in_one_line(tmp_path, key):
    params = copy.deepcopy(PARAMS)
    block = params
    for name in key[:-1]:
        block = block[name]
    block[key[-1]] = None
    path = tmp_path / "params.yaml"
    yaml.dump(params, path)
    with pytest.raises(ValueError, match="nothing stands there") as caught:
        load_params(path)
    assert str(caught.value).startswith(f"{path}: {'.'.join(key)}: nothing stands there; ")
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "params.yaml").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"params\.yaml: top level: nothing stands there"):
        load_params(tmp_path / "params.yaml")


def test_a_number_that_may_be_a_word_is_named_by_its_own_key(tmp_path):
    params = copy.deepcopy(PARAMS)
    params["data"]["shots"] = None
    yaml.dump(params, tmp_path / "params.yaml")
    with pytest.raises(ValueError, match=r"data\.shots: ") as caught:
        load_params(tmp_path / "params.yaml")
    assert "constrained" not in str(caught.value)
