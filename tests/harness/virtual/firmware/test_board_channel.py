"""The program's end of the channel."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.virtual.firmware.board_channel import BoardRefused
from tests.harness.virtual.firmware.stage import Board


async def test_answers(board: Board):
    """Each question gets its own answer, whatever their order."""
    board.answers = {"a": None, "b": {"ok": 2}}
    first = asyncio.create_task(board.channel.ask("a", x=1))
    await board.until("a")
    assert await board.channel.ask("b") == 2
    board.say({"id": 1, "ok": "late"})

    assert await first == "late"
    assert board.asked == [{"do": "a", "x": 1}, {"do": "b"}]


async def test_refused(board: Board):
    """An error of ESP-IDF is raised, with its code."""
    board.answers["a"] = {"error": "ESP_ERR_NOT_FOUND", "text": "no slot"}
    with pytest.raises(BoardRefused, match="ESP_ERR_NOT_FOUND: no slot") as raised:
        await board.channel.ask("a")

    assert raised.value.code == "ESP_ERR_NOT_FOUND"


async def test_events(board: Board):
    """Events are handed on; an answer that nobody waits for is for nobody."""
    told: asyncio.Queue[Any] = asyncio.Queue()
    board.channel.on_event = told.put_nowait
    board.say({"id": 99, "ok": None})
    board.say({"event": "wifi"})

    assert await asyncio.wait_for(told.get(), 5) == {"event": "wifi"}


async def test_board_has_gone(board: Board):
    """When the board goes, that is known, and nothing more can be asked."""
    board.vanish()
    await asyncio.wait_for(board.channel.closed.wait(), 5)
