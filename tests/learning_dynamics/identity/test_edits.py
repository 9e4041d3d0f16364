"""Every kind of edit behind a measure changes its key, in new processes that read the new files."""

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("kinds", Path(__file__).with_name("kinds.py"))
kinds = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kinds)


@pytest.fixture(scope="module")
def keys():
    found = kinds.keys(kinds.KINDS | kinds.SAME)
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]
    return found


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_an_edit_changes_the_key(keys, kind):
    one, other = keys[kind]
    assert one.digest != other.digest
    assert one.uncovered == other.uncovered == one.edited == other.edited == ()


@pytest.mark.parametrize("kind", kinds.SAME)
def test_what_changes_no_result_does_not(keys, kind):
    one, other = keys[kind]
    assert one.parts == other.parts
    assert one.digest == other.digest
