"""Builds that are refused before any board is touched."""

import pytest

from harness.bench.bench_file import BoardConfig
from harness.firmware.chips import CHIPS
from harness.firmware.errors import BadBuild, FirmwareError, Unfit
from harness.firmware.made_builds import make_build
from harness.firmware.spoiled_builds import SPOILINGS, spoil
from harness.validation.refusing import found, in_one_line, used

S3 = BoardConfig(id="s3", chip="esp32s3", mac="02:00:00:00:00:01", caps=("flash:8M",))


@pytest.fixture
def folder(tmp_path):
    """A build that is good."""
    make_build(tmp_path / "kettle", CHIPS["esp32s3"], version="1.4.2")
    return tmp_path / "kettle"


@pytest.mark.parametrize("board", [S3, None])
def test_good(folder, board):
    """It is read; what it says of itself is reported."""
    assert used(found(folder, board), "kettle").version == "1.4.2"


@pytest.mark.parametrize("name", SPOILINGS)
def test_spoiled(folder, name):
    """Each is refused, in one line."""
    spoil(folder, name)
    with pytest.raises(FirmwareError) as refused:
        found(folder, S3)

    assert in_one_line(refused.value)
    assert "\n" not in in_one_line(refused.value)


def test_other_chip(folder):
    """A board of another kind cannot run it, nor one with too little flash."""
    with pytest.raises(Unfit, match="esp32s3"):
        found(folder, BoardConfig(id="c3", chip="esp32c3", mac="02:00:00:00:00:01"))
    with pytest.raises(Unfit, match="flash"):
        found(folder, BoardConfig(id="s3", chip="esp32s3", mac="02:00:00:00:00:01", caps=("flash:2M",)))


def test_none(tmp_path):
    """What is no build is told so, and reported by its name."""
    with pytest.raises(BadBuild):
        found(tmp_path, None)
    assert used(None, "kettle", "esp32s3").name == "kettle"
