"""Otadata says which slot is started."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Misuse
from harness.firmware.errors import BadOtaData
from harness.firmware.otadata import OtaData, OtaEntry, OtaState

entries = st.none() | st.builds(OtaEntry, sequence=st.integers(1, 0xFFFFFFFE), state=st.sampled_from(OtaState))


@given(entries, entries)
def test_round_trip(first: OtaEntry | None, second: OtaEntry | None):
    """What is written is read as it was."""
    data = OtaData((first, second))

    assert OtaData.parse(data.to_bytes()) == data


def test_bytes():
    """Sequence, no label, state, and the CRC of the sequence alone, as ESP-IDF's first one of slot 0 has it."""
    raw = OtaData((OtaEntry(1, OtaState.UNDEFINED), None)).to_bytes()

    # the 32 bytes that boot_app0.bin of Arduino's core begins with
    assert raw[:32].hex() == "01000000" + "ff" * 24 + "9a984347"
    assert (len(raw), raw[32:]) == (0x2000, b"\xff" * 0x1FE0)


def test_too_short():
    """Two sectors are needed."""
    with pytest.raises(BadOtaData, match="expected otadata of 0x2000 bytes, there are 0x1fff"):
        OtaData.parse(b"\xff" * 0x1FFF)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_any_bytes(first: bytes, second: bytes):
    """Any bytes are otadata; those without the right CRC do not count."""
    data = OtaData.parse(first.ljust(0x1000, b"\xff") + second.ljust(0x1000, b"\xff"))

    assert data.slot(2) in {None, 0, 1}


class TestChoice:
    """Which slot it is."""

    def test_erased(self):
        """Erased otadata chooses none: factory, or the first slot."""
        data = OtaData.parse(b"\xff" * 0x2000)

        assert (data.active, data.state, data.slot(2)) == (None, None, None)

    @pytest.mark.parametrize(
        ("sequences", "slots", "slot"),
        [((1, None), 2, 0), ((1, 2), 2, 1), ((3, 2), 2, 0), ((4, 5), 3, 1), ((None, 2), 2, 1), ((7, 7), 2, 0)],
    )
    def test_highest_sequence(self, sequences: tuple[int | None, int | None], slots: int, slot: int):
        """The higher number counts, and says the slot by its remainder."""
        first, second = (OtaEntry(number) if number else None for number in sequences)

        assert OtaData((first, second)).slot(slots) == slot

    def test_tie(self):
        """Of two equal ones the first is in force, so an update writes the second."""
        data = OtaData((OtaEntry(7), OtaEntry(7)))

        assert data.active == 0
        assert data.choosing(1, 2).entries == (OtaEntry(7), OtaEntry(8))

    @pytest.mark.parametrize("state", [OtaState.INVALID, OtaState.ABORTED])
    def test_rolled_back(self, state: OtaState):
        """An entry that was given up does not count."""
        data = OtaData((OtaEntry(1, OtaState.VALID), OtaEntry(2, state)))

        assert (data.slot(2), data.state) == (0, OtaState.VALID)

    def test_broken_crc(self):
        """Nor does one whose CRC does not hold, as after a power cut while it was written."""
        raw = bytearray(OtaData((OtaEntry(1), OtaEntry(2))).to_bytes())
        raw[0x1000] = 6

        data = OtaData.parse(raw)

        assert data.entries[1] == OtaEntry(6, intact=False)
        assert data.slot(2) == 0

    def test_no_slots(self):
        """A table without slots has none to choose."""
        assert OtaData((OtaEntry(1), None)).slot(0) is None

    def test_unknown_state(self):
        """A state that is none is like one that was never set."""
        raw = bytearray(OtaData((OtaEntry(1), None)).to_bytes())
        raw[24:28] = b"\x09\0\0\0"

        assert OtaData.parse(raw).state is OtaState.UNDEFINED


class TestUpdate:
    """What an update and its confirmation write."""

    @given(st.lists(st.integers(0, 2), max_size=10))
    def test_any_updates(self, slots: list[int]):
        """After any updates the last one is chosen, and the one before is still there to fall back to."""
        data = OtaData()
        before = None
        for slot in slots:
            data = data.choosing(slot, 3, OtaState.NEW)
            assert (data.slot(3), data.state) == (slot, OtaState.NEW)
            if before is not None:
                assert data.marked(OtaState.ABORTED).slot(3) == before
            before = slot

    def test_other_sector(self):
        """An update never writes the sector in force."""
        first = OtaData().choosing(1, 2)
        second = first.choosing(0, 2)

        assert second.entries == (first.entries[0], OtaEntry(3))

    def test_confirmed(self):
        """A confirmation changes the state, and nothing else."""
        data = OtaData().choosing(0, 2, OtaState.PENDING_VERIFY).marked(OtaState.VALID)

        assert (data.slot(2), data.state) == (0, OtaState.VALID)

    def test_misuse(self):
        """There has to be such a slot, and something to confirm."""
        with pytest.raises(Misuse, match="a slot from 0 to 1, got 2"):
            OtaData().choosing(2, 2)
        with pytest.raises(Misuse, match="an entry in force"):
            OtaData().marked(OtaState.VALID)
