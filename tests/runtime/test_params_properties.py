"""params.yaml, changed anywhere to anything: parameters, or a ValueError that names what was changed."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.runtime.params import Params, load_params
from tests.runtime.test_params import yaml

WHOLE = Path("params.yaml").read_text(encoding="utf-8")
Place = tuple[str | int, ...]

any_case = settings(max_examples=100, deadline=None, derandomize=True)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
WORDS = ["fashion", "all", "auto", "transfer", "pgd", "jpeg", "clean", "../etc", "x" * 5000, "params.yaml"]
words = texts | st.sampled_from(WORDS)
numbers = st.integers(-2, 300) | st.integers() | st.floats() | st.sampled_from([10**300, -0.0, 0.5, 2**32])
scalars = st.none() | st.booleans() | numbers | words
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=3), max_leaves=4)
kinds = st.sampled_from(["set", "remove", "rename", "add"])
changes = st.tuples(kinds, st.integers(0, 10**6), values | words | numbers, words | numbers)


def places(values: Any, above: Place = ()) -> list[Place]:
    """All keys of nested blocks and lists, from the top down."""
    keys = values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
    return [place for key in keys for place in ((*above, key), *places(values[key], (*above, key)))]


def change(params: dict, kind: str, number: int, value: Any, key: Any) -> list[str]:
    """Changes one place; returns the words of which a refusal has to use one."""
    every = places(params)
    *above, last = every[number % len(every)] if every else ("seed",)
    block = params
    for part in above:
        block = block[part]
    name = str(next(part for part in reversed([*above, last]) if isinstance(part, str)))
    if kind == "add" and isinstance(block, dict):
        block[key] = value
        return [repr(key), str(key)]
    old = block.pop(last)
    if kind == "rename" and isinstance(block, dict):
        block[key] = old
        return [name, repr(key), str(key)]
    if kind != "remove":
        block.update({last: value}) if isinstance(block, dict) else block.insert(last, value)
    chosen = name in ("method", "name") and above  # these choose what kind of block it is, so the block may be named
    return [name, ".".join(map(str, above))] if chosen else [name]


def outcome(path: Path, text: str) -> str:
    """What reading says; nothing if the parameters are good."""
    path.write_text(text, encoding="utf-8")
    try:
        assert isinstance(load_params(path), Params)
    except ValueError as error:
        assert all(line.startswith(f"{path}: ") for line in str(error).splitlines()) or "no valid YAML" in str(error)
        return str(error)
    return ""


@any_case
@given(st.lists(changes, min_size=1, max_size=2))
def test_any_change_of_keys_and_values_is_good_or_refused_by_name(tmp_path_factory, changed):
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    params = yaml.load(WHOLE)
    named = [word for kind in changed for word in change(params, *copy.deepcopy(kind))]
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    message = outcome(path, path.read_text(encoding="utf-8"))
    assert not message or any(word in message for word in named)


LINES = re.findall(r"(?m)^ *[-\w]+:? [^#\n]+", WHOLE)
ODD = [
    "2001-13-01", "2001-01-01T99:00:00", "!!int x", "!!int ''", "!!bool x", "!!float x", "!!binary x", "!x", "&a [*a]",
    "*a", "9" * 5000, "[" * 600 + "]" * 600, "{" * 99 + "}" * 99, "'", '"\\ud800"', "\0", "\ufeff", "\t", "? [a]",
    "<<: 1", ".nan", "%", "--- 1", "...", "a: b",
]  # fmt: skip


@any_case
@given(st.sampled_from(LINES), st.sampled_from(ODD) | texts, st.booleans())
def test_any_text_in_place_of_a_value_is_good_or_refused_with_the_files_name(tmp_path_factory, line, odd, whole_line):
    new = odd if whole_line else f"{line.partition(':')[0]}: {odd}"
    message = outcome(tmp_path_factory.getbasetemp() / "params.yaml", WHOLE.replace(line, new, 1))
    assert not message or "params.yaml: " in message


@pytest.mark.parametrize(("kind", "message"), [("folder", "cannot be read"), ("half of UTF-16", "no valid YAML")])
def test_what_is_no_text_is_refused_with_its_name(tmp_path, kind, message):
    path = tmp_path / "params.yaml"
    path.mkdir() if kind == "folder" else path.write_bytes(WHOLE.encode("utf-16")[:-1001])
    with pytest.raises(ValueError, match=rf"params\.yaml: {message}"):
        load_params(path)


@pytest.mark.parametrize("name", ["x" * 5000, "\0"], ids=["too long", "no name"])
def test_weights_of_a_name_that_no_file_can_have_are_no_file(name):
    values = yaml.load(WHOLE)
    values["model"] |= {"pretrained": name, "sha256": None}
    assert Params.model_validate(values).model.pretrained == name


@pytest.mark.parametrize("key", ["datasets", "test_only", "oblivious", "adaptive", "methods"])
@pytest.mark.parametrize("name", ["", "A", "a-b", "../a", "ä", "clean", "worst_a", "a\n"])
def test_a_name_that_can_be_no_stage_is_refused_with_its_key(key, name):
    values = yaml.load(WHOLE)
    above, last = (values["methods"], "tune_clean") if key == "methods" else (values, key)
    old = above[last]
    above[last] = [name] if isinstance(old, list) else {name: next(iter(old.values()))}
    with pytest.raises(ValueError, match=rf"{key}: name {re.escape(repr(name))}: lower-case letters"):
        Params.model_validate(values)
