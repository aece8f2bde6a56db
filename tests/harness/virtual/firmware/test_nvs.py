"""Settings of the firmware."""

from __future__ import annotations

import pytest

from harness.virtual.firmware.board_channel import BoardRefused
from harness.virtual.firmware.nvs import Nvs
from tests.harness.virtual.firmware.stage import Board


async def test_reading(board: Board):
    """A value of another type is as good as none."""
    nvs = Nvs({"a": {"s": "text", "n": 5}}, board.channel)

    assert (nvs.text("a", "s"), nvs.text("a", "n"), nvs.text("b", "s")) == ("text", "", "")
    assert (nvs.number("a", "n"), nvs.number("a", "s", 7), nvs.number("b", "n")) == (5, 7, 0)


async def test_writing(board: Board):
    """Values are written by the board, in the firmware's types; what is there already is not."""
    nvs = Nvs({"a": {"s": "text"}}, board.channel)
    await nvs.put("a", "s", "text")
    await nvs.put("a", "s", "other")
    await nvs.put("b", "n", 3)

    assert (nvs.text("a", "s"), nvs.number("b", "n")) == ("other", 3)
    assert [(r["namespace"], r["key"], r["type"], r["value"]) for r in board.of("nvs_set")] == [
        ("a", "s", "str", "other"),
        ("b", "n", "i32", 3),
    ]


async def test_refused(board: Board):
    """What cannot be written is not in force either."""
    nvs = Nvs({}, board.channel)
    board.answers["nvs_set"] = {"error": "ESP_ERR_NVS_NOT_ENOUGH_SPACE", "text": "full"}
    with pytest.raises(BoardRefused):
        await nvs.put("a", "s", "text")

    assert nvs.text("a", "s") == ""


async def test_networks(board: Board):
    """Ten networks in their order; a name without a password does not count, as with esp-wifi-connect."""
    known = {
        "ssid": "a",
        "password": "1",
        "ssid1": "b",
        "ssid9": "c",
        "password9": "",
        "ssid10": "d",
        "password10": "x",
    }

    assert Nvs({"wifi": known}, board.channel).networks == [("a", "1"), ("c", "")]
    assert Nvs({}, board.channel).networks == []
