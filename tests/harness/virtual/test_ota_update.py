"""Updates: the other slot is written, checked, chosen, confirmed or given up."""

from __future__ import annotations

from typing import Any

import pytest

from harness.firmware.chips import CHIPS
from harness.firmware.image import Image
from harness.firmware.made_builds import TABLE
from harness.firmware.otadata import OTADATA_BYTES, OtaData, OtaEntry, OtaState
from harness.firmware.partition_table import PartitionTable
from harness.virtual.boot_loader import Started
from harness.virtual.boot_log import BootLog
from harness.virtual.errors import OtaRefused
from harness.virtual.ota_update import OtaUpdate
from tests.harness.virtual.flashed import OTADATA, SLOT_0, SLOT_1, WITH_FACTORY, flashed, image
from tests.harness.virtual.memory import Memory, PowerLost

CHIP = CHIPS["esp32s3"]


def running(
    label: str = "ota_0", *, table: PartitionTable = TABLE, rollback: bool = True, entry: OtaEntry | None = None
) -> tuple[Memory, OtaUpdate]:
    """A flash, and the updates of what runs in this slot."""
    memory = flashed(table=table, apps={label: image()})
    memory.put(OTADATA.offset, OtaData((entry, None)).to_bytes())
    started = Started(table, table.labelled(label), Image.parse(image(), CHIP))
    return memory, OtaUpdate(memory, CHIP, started, BootLog(lambda _: None), rollback=rollback)


def otadata(memory: Memory) -> OtaData:
    """What stands in otadata."""
    return OtaData.parse(memory.read(OTADATA.offset, OTADATA_BYTES))


def written(update: OtaUpdate, content: bytes) -> None:
    """Write an image as a program does, in pages."""
    for at in range(0, len(content), 4096):
        update.write(content[at : at + 4096])


def refused(code: str) -> Any:
    """The error of ESP-IDF with this code."""
    return pytest.raises(OtaRefused, match=code)


VALID_FIRST = OtaEntry(1, OtaState.VALID)


def test_update():
    """The other slot is written, whatever was in it, and chosen as new."""
    memory, update = running(entry=VALID_FIRST)
    memory.put(SLOT_1.offset, b"\0" * 9000)
    content = image(version="1.1.0", program="x" * 6000)
    assert update.begin() == SLOT_1
    written(update, content)
    update.end()

    assert memory.read(SLOT_1.offset, len(content)) == content
    assert otadata(memory).entries == (VALID_FIRST, OtaEntry(2, OtaState.NEW))


def test_without_rollback():
    """Without rollback the state is left undefined."""
    memory, update = running(rollback=False, entry=VALID_FIRST)
    update.begin()
    written(update, image())
    update.end()

    assert otadata(memory).state is OtaState.UNDEFINED


@pytest.mark.parametrize(("label", "target"), [("ota_1", SLOT_0), ("factory", SLOT_0)])
def test_target(label: str, target: Any):
    """After the last slot comes the first, as it does after factory."""
    _, update = running(label, table=WITH_FACTORY)

    assert update.begin() == target


def test_nowhere_to():
    """A table with one slot cannot be updated."""
    _, update = running(table=PartitionTable(tuple(p for p in TABLE if p.label != "ota_1")))
    with refused("ESP_ERR_NOT_FOUND"):
        update.begin()


def test_not_confirmed_yet():
    """What waits to be confirmed must not overwrite what it may have to go back to."""
    _, update = running(entry=OtaEntry(1, OtaState.PENDING_VERIFY))
    with refused("ESP_ERR_OTA_ROLLBACK_INVALID_STATE"):
        update.begin()


def test_broken_image():
    """An image that no chip would start is not chosen, and the update is over."""
    memory, update = running(entry=VALID_FIRST)
    update.begin()
    written(update, image()[:-1])
    with refused("ESP_ERR_OTA_VALIDATE_FAILED"):
        update.end()
    with refused("ESP_ERR_INVALID_STATE"):
        update.write(b"x")

    assert otadata(memory).entries == (VALID_FIRST, None)


def test_for_another_chip():
    """Nor is one for another chip."""
    _, update = running(entry=VALID_FIRST)
    update.begin()
    written(update, image("esp32c3"))
    with refused("ESP_ERR_OTA_VALIDATE_FAILED"):
        update.end()


def test_too_long():
    """More than the slot holds is refused before it is written."""
    memory, update = running()
    update.begin()
    memory.writes = 0
    with refused("ESP_ERR_INVALID_SIZE"):
        update.write(b"\0" * (SLOT_1.size + 1))

    assert memory.writes == 0


def test_aborted():
    """An update that was given up cannot be ended."""
    _, update = running()
    update.begin()
    update.abort()
    with refused("ESP_ERR_INVALID_STATE"):
        update.end()


@pytest.mark.parametrize("after", [0, 4096, 4100])
def test_power_goes(after: int):
    """Where power goes in the middle of it, what runs is started next time."""
    memory, update = running(entry=VALID_FIRST)
    update.begin()
    memory.cut_after = after
    with pytest.raises(PowerLost):
        written(update, image())

    assert otadata(memory).slot(2) == 0


def test_confirm():
    """What waits to be confirmed can be."""
    memory, update = running(entry=OtaEntry(1, OtaState.PENDING_VERIFY))
    assert update.state() == "pending_verify"
    update.confirm()

    assert otadata(memory).entries[0] == VALID_FIRST
    assert update.state() == "valid"


def test_reject():
    """Or given up."""
    memory, update = running(entry=OtaEntry(1, OtaState.PENDING_VERIFY))
    update.reject()

    assert otadata(memory).entries[0] == OtaEntry(1, OtaState.INVALID)


def test_factory_has_no_state():
    """A factory application is neither confirmed nor given up."""
    memory, update = running("factory", table=WITH_FACTORY, entry=VALID_FIRST)
    update.confirm()

    assert update.state() == "undefined"
    assert otadata(memory).entries[0] == VALID_FIRST
