"""What an operating system's own work takes, as a profile keeps it."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.profile import load_profile, parse_profile, save_profile
from llmos.costs.system import WHAT, Measured
from llmos.errors import ProfileError

SWITCH = Measured(3e-6, 2.5e-6, 4e-6, 20)


@pytest.fixture
def document(make, tmp_path):
    """A sound profile as plain JSON, to be damaged."""
    save_profile(make(system={"context_switch": SWITCH}), tmp_path / "sound.json")
    return json.loads((tmp_path / "sound.json").read_text())


def parsed(document):
    return parse_profile(json.dumps(document).encode())


def test_they_are_read_as_they_were_written(document):
    assert parsed(document).system == {"context_switch": SWITCH}


def test_a_profile_without_them_has_none(make, tmp_path):
    save_profile(make(), tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json").system == {}


@pytest.mark.parametrize("schema", [1, 2])
def test_profiles_of_either_schema_may_have_them(document, schema):
    assert parsed(document | {"schema": schema}).system == {"context_switch": SWITCH}


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 0},
        {"seconds": -1e-6},
        {"low": 0},
        {"high": 1e300},
        {"high": 10**400},
        {"seconds": "3 us"},
        {"samples": 0},
        {"samples": 1.5},
        {"low": 3.5e-6},
        {"high": 2.9e-6},
    ],
)
def test_a_figure_that_cannot_be_is_named(document, change):
    document["system"]["context_switch"] |= change
    with pytest.raises(ProfileError, match=r"system"):
        parsed(document)


@given(st.floats(), st.floats(), st.floats(), st.integers())
def test_a_figure_that_is_read_is_sane(seconds, low, high, samples):
    fields = {"seconds": seconds, "low": low, "high": high, "samples": samples}
    try:
        found = msgspec.convert(fields, Measured)
    except msgspec.ValidationError:
        return
    assert 0 < found.low <= found.seconds <= found.high < math.inf
    assert found.samples >= 1


def test_every_figure_of_a_shipped_profile_is_explained():
    assert load_profile("reference-cpu").system.keys() <= WHAT.keys()
