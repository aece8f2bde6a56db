"""Tests of `gateway.config_reference`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import Meta

from gateway.config import Config
from gateway.config_reference import SECTIONS, SETTINGS, in_words, render, shown

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"


def test_committed_page_is_what_the_structs_say():
    """The page in the repository is the one that the settings make."""
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "docs/configuration.md is out of date; make it anew with "
        "`python -m gateway.config_reference > docs/configuration.md`"
    )


def test_module_prints_the_page():
    """Running the module prints the page, with nothing around it."""
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gateway.config_reference"], cwd=ROOT, capture_output=True, check=True
    )

    assert printed.stdout.decode() == render()
    assert printed.stderr == b""


def test_every_field_is_a_setting():
    """Each field of each section has a setting with a description, and nothing else has."""
    config = Config()
    fields = [f"{section}.{key}" for section in config.__struct_fields__ for key in _section_fields(config, section)]

    assert list(SETTINGS) == fields
    assert tuple(config.__struct_fields__) == SECTIONS
    for setting in SETTINGS.values():
        assert setting.description.endswith("."), setting.name
        assert f"`{setting.variable}`" in render()


def _section_fields(config: Config, section: str) -> tuple[str, ...]:
    fields: tuple[str, ...] = getattr(config, section).__struct_fields__
    return fields


def test_variables_name_one_setting_each():
    """No two settings share a variable, and no section begins like another one and a key."""
    variables = [setting.variable for setting in SETTINGS.values()]

    assert len(set(variables)) == len(variables)
    assert all("_" not in section for section in SECTIONS)


def test_default_of_a_secret_is_empty():
    """The page shows defaults, so a secret must not have one; the key is known to be one."""
    secrets = [setting for setting in SETTINGS.values() if setting.secret]

    assert [setting.name for setting in secrets] == ["auth.key"]
    assert [setting.default for setting in secrets] == [""]


@pytest.mark.parametrize(
    ("kind", "meta", "words"),
    [
        (bool, Meta(), "true or false"),
        (int, Meta(), "an integer"),
        (int, Meta(ge=0, le=65535), "an integer from 0 to 65535"),
        (int, Meta(ge=-720, le=840), "an integer from -720 to 840"),
        (int, Meta(ge=0), "an integer of 0 or more"),
        (float, Meta(gt=0), "a number above 0"),
        (float, Meta(ge=0, le=1.5), "a number from 0 to 1.5"),
        (str, Meta(), "a text"),
        (list[str], Meta(), "a list of texts"),
        (list[str], Meta(min_length=1), "a list of 1 or more texts"),
        (Literal["asked", "all", "off"], Meta(), "one of 'asked', 'all', 'off'"),
        (Literal[1, 2, 3], Meta(), "one of 1, 2, 3"),
    ],
)
def test_types_are_told_in_words(kind: Any, meta: Meta, words: str):
    """Each type and range has a plain wording that follows "expected"."""
    assert in_words(kind, meta) == words


def test_page_says_what_may_be_unset_and_what_is_odd():
    """Optional settings, and those whose words are their own, are told so."""
    page = render()

    assert "| `takeover` | one of 'same_client', 'token', 'any', or unset | unset | `WSDEVICE_AUTH_TAKEOVER` |" in page
    assert "| `threadpool_max_workers` | an integer from 1 to 64 | `2` |" in page
    assert '| `path` | a path that begins and ends with a slash | `"/xiaozhi/ota/"` |' in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1, "1"),
        ("a\nb", '"a\\nb"'),
        ("é", '"é"'),
        (["a", 1], '["a", 1]'),
        ({"a": 1}, "a section"),
        (object(), "a date or time"),
        pytest.param(1 << 60_000, "a value that is far too large", id="too many digits"),
    ],
)
def test_values_are_shown_as_in_toml(value: Any, text: str):
    """A value in a message reads as it would in the file."""
    assert shown(value) == text
