"""wsdevice.toml."""

from pathlib import Path

import pytest

from harness.report.record import Limit
from harness.validation.errors import BadSettings
from harness.validation.settings import Settings, load, read

TEXT = """\
[validate]
bench = "bench.toml"
baseline = "baseline.toml"
scenarios = "hello"
repeats = 5
[validate.limits.boot_to_ip]
at_most = 6
"""


def test_read():
    """Files are beside it."""
    assert read(TEXT, Path("lab/wsdevice.toml")) == Settings(
        "lab/bench.toml", "lab/baseline.toml", "hello", 5, {"boot_to_ip": Limit(at_most=6)}
    )


def test_virtual_bench():
    """It is no file."""
    assert read('[validate]\nbench = "virtual:2"', Path("lab/wsdevice.toml")).bench == "virtual:2"


@pytest.mark.parametrize(
    "text",
    [
        "[validate",
        '[validate]\nbnech = "x"',
        "[validate]\nrepeats = 0",
        "[validate.limits.moon]\nat_most = 1",
        "validate = 1",
    ],
)
def test_bad(text):
    """It is refused, with its place."""
    with pytest.raises(BadSettings, match=r"wsdevice.toml"):
        read(text, Path("wsdevice.toml"))


def test_load(tmp_path, monkeypatch):
    """The one of the current folder is read if it is there; one that was named has to be."""
    monkeypatch.chdir(tmp_path)
    assert load(None) == Settings()
    with pytest.raises(BadSettings):
        load(tmp_path / "other.toml")
    (tmp_path / "wsdevice.toml").write_text(TEXT)
    assert load(None).repeats == 5
