"""Bad inputs have numbers, 1 to 55; each has a test that is named after it, or a case whose id begins with it."""

import re

import pytest

from tests.imports import ROOT

SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))


@pytest.mark.parametrize("number", [f"{number:02d}" for number in range(1, 56)])
def test_every_bad_input_has_a_test(number):
    test, id_in_a_list, id_as_a_key = f"^def test_{number}_", f'ids=.*"{number} ', f'^    "{number} [^"]+":'
    found = re.findall(f"{test}|{id_in_a_list}|{id_as_a_key}", SOURCES, re.MULTILINE)
    assert found, f"no test of bad input {number}"
