"""Downloading an image into the other slot."""

from __future__ import annotations

import base64

import pytest

from harness.virtual.firmware.upgrade import PAGE, UpgradeFailed, upgrade
from tests.harness.virtual.firmware.stage import Board, Uart
from tests.harness.virtual.firmware.web import Web

IMAGE = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def slot(board: Board, web: Web) -> None:
    """A slot to write to, and an image to be had."""
    board.answers["ota_begin"] = {"ok": {"label": "ota_1", "offset": 0x1F0000, "size": 0x1D0000}}
    web.answers["/image.bin"] = (200, IMAGE)


async def test_upgrade(board: Board, uart: Uart, web: Web):
    """It is written page by page, and ended; each step in the firmware's line."""
    url = f"{web.url}/image.bin"
    await upgrade(board.channel, uart.log, url)
    pages = [base64.b64decode(request["data"]) for request in board.of("ota_write")]

    assert b"".join(pages) == IMAGE
    assert [len(page) for page in pages] == [PAGE, PAGE, 2048]
    assert [request["do"] for request in board.asked][-1] == "ota_end"
    assert uart.lines == [
        f"Ota: Upgrading firmware from {url}",
        "Ota: Writing to partition ota_1 at offset 0x1f0000",
        f"Ota: Progress: 100% ({len(IMAGE)}/{len(IMAGE)}), Speed: {len(IMAGE)}B/s",
        "Ota: Firmware upgrade successful",
    ]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/none.bin", "Ota: Failed to get firmware, status code: 404"),
        ("/empty.bin", "Ota: Failed to get content length"),
    ],
)
async def test_not_to_be_had(board: Board, uart: Uart, web: Web, path: str, said: str):
    """An answer without an image is no update."""
    web.answers["/empty.bin"] = (200, b"")
    with pytest.raises(UpgradeFailed):
        await upgrade(board.channel, uart.log, web.url + path)

    assert uart.lines[-1] == said
    assert board.of("ota_end") == []


@pytest.mark.parametrize("url", ["https://127.0.0.1/image.bin", "http://127.0.0.1:1/image.bin", "nonsense"])
async def test_no_connection(board: Board, uart: Uart, url: str):
    """Nor is an address where nothing answers."""
    with pytest.raises(UpgradeFailed):
        await upgrade(board.channel, uart.log, url)

    assert uart.lines[-1].startswith("Ota: Failed to open HTTP connection")


async def test_cut_off(board: Board, uart: Uart, web: Web):
    """A download that ends too early is not taken for the whole."""
    web.cuts_after = 5000
    with pytest.raises(UpgradeFailed):
        await upgrade(board.channel, uart.log, f"{web.url}/image.bin")

    assert len(board.of("ota_write")) == 1
    assert board.of("ota_end") == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ESP_ERR_OTA_VALIDATE_FAILED", "Ota: Image validation failed, image is corrupted"),
        ("ESP_ERR_TIMEOUT", "Ota: Failed to end OTA: ESP_ERR_TIMEOUT"),
    ],
)
async def test_bad_image(board: Board, uart: Uart, web: Web, code: str, said: str):
    """What the board refuses is told in the firmware's words."""
    board.answers["ota_end"] = {"error": code, "text": "no"}
    with pytest.raises(UpgradeFailed):
        await upgrade(board.channel, uart.log, f"{web.url}/image.bin")

    assert uart.lines[-1] == said


async def test_no_slot(board: Board, uart: Uart, web: Web):
    """Without a second slot nothing is downloaded."""
    board.answers["ota_begin"] = {"error": "ESP_ERR_NOT_FOUND", "text": "no"}
    with pytest.raises(UpgradeFailed):
        await upgrade(board.channel, uart.log, f"{web.url}/image.bin")

    assert uart.lines[-1] == "Ota: Failed to get update partition"
    assert web.asked == []
