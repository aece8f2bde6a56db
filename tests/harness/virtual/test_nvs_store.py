"""Writing into an NVS partition: values, room, and power that goes at any moment of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Misuse
from harness.firmware import nvs
from harness.firmware.nvs_image import I32, U8, generate
from harness.virtual.errors import NvsFull
from harness.virtual.nvs_store import NvsStore
from tests.harness.virtual.memory import Memory, PowerLost

AT = 0x9000
SIZE = 0x4000


def store(content: bytes = b"") -> tuple[Memory, NvsStore]:
    """A partition, and what is on it."""
    memory = Memory(0x20000)
    memory.put(AT, content)
    return memory, NvsStore(memory, AT, SIZE)


def values(memory: Memory) -> dict[str, dict[str, nvs.NvsValue]]:
    """What the reader of partitions finds, without a fault."""
    return nvs.read(memory.read(AT, SIZE))


class TestValues:
    """What is put is found."""

    def test_first_value_of_an_erased_partition(self):
        """A partition that was never used is taken into use."""
        memory, written = store()
        written.put("wifi", "ssid", "str", "lab")

        assert values(memory) == {"wifi": {"ssid": "lab"}}

    @pytest.mark.parametrize(
        ("kind", "value"),
        [("u8", 255), ("i8", -1), ("u16", 9), ("i16", -9), ("u32", 7), ("i32", -7), ("u64", 1 << 40), ("i64", -1)],
    )
    def test_integers(self, kind: nvs.NvsType, value: int):
        """Each type of integer is written as what it is."""
        memory, written = store()
        written.put("n", "k", kind, value)

        assert nvs.examine(memory.read(AT, SIZE)).items == (nvs.NvsItem("n", "k", kind, value),)

    def test_blob(self):
        """Blobs are written in the chunks of version 2."""
        memory, written = store()
        written.put("n", "k", "blob", bytes(range(200)))

        assert values(memory) == {"n": {"k": bytes(range(200))}}

    def test_among_those_of_the_generator(self):
        """What Espressif's generator has written stays, and its values can be replaced."""
        image = generate({"wifi": {"ssid": "lab", "sleep": U8(1)}, "websocket": {"version": I32(1)}}, SIZE)
        memory, written = store(image)
        written.put("websocket", "url", "str", "ws://a/")
        written.put("wifi", "ssid", "str", "other")

        assert values(memory) == {
            "wifi": {"ssid": "other", "sleep": 1},
            "websocket": {"version": 1, "url": "ws://a/"},
        }

    def test_the_same_again_is_not_written(self):
        """A value that is there already costs no write."""
        memory, written = store()
        written.put("n", "k", "str", "v")
        memory.writes = 0
        written.put("n", "k", "str", "v")

        assert memory.writes == 0

    def test_erase(self):
        """One key, or a whole namespace, is struck out."""
        memory, written = store()
        for key in ("a", "b"):
            written.put("n", key, "str", "v" * 40)
            written.put("m", key, "u8", 1)
        written.erase("n", "a")
        written.erase("m")
        written.erase("none")

        assert values(memory) == {"n": {"b": "v" * 40}}

    def test_erase_all(self):
        """The whole partition is empty, and can be used again."""
        memory, written = store()
        written.put("n", "k", "str", "v")
        written.erase_all()

        assert memory.read(AT, SIZE).strip(b"\xff") == b""

    @pytest.mark.parametrize(
        ("namespace", "key", "kind", "value"),
        [
            ("", "k", "u8", 1),
            ("n" * 16, "k", "u8", 1),
            ("n", "ü", "u8", 1),
            ("n", "k", "u8", 256),
            ("n", "k", "u8", "1"),
            ("n", "k", "str", 1),
            ("n", "k", "str", "a\0b"),
            ("n", "k", "blob", "text"),
            ("n", "k", "float", 1.0),
        ],
    )
    def test_refused(self, namespace: str, key: str, kind: nvs.NvsType, value: nvs.NvsValue):
        """What NVS does not have is refused, and nothing is written."""
        memory, written = store()
        with pytest.raises(Misuse):
            written.put(namespace, key, kind, value)

        assert memory.writes == 0


class TestRoom:
    """Pages are left when they are full, and made room in."""

    def test_many_rewrites(self):
        """A value can be written more often than there are entries; the others survive all of it."""
        memory, written = store()
        written.put("n", "kept", "str", "for ever")
        for number in range(700):
            written.put("n", "k", "u32", number)

        assert values(memory) == {"n": {"kept": "for ever", "k": 699}}
        assert nvs.examine(memory.read(AT, SIZE)).empty_pages >= 1

    def test_full(self):
        """Where there is no room, that is said, and what was there is still there."""
        memory, written = store()

        def fill() -> None:
            for number in range(100):
                written.put("n", f"k{number}", "str", "x" * 500)

        with pytest.raises(NvsFull):
            fill()
        found = values(memory)["n"]

        assert len(found) > 15
        assert all(value == "x" * 500 for value in found.values())

    def test_longer_than_a_page(self):
        """A value that no page can hold is refused."""
        _, written = store()
        with pytest.raises(NvsFull):
            written.put("n", "k", "blob", b"x" * 4001)


def interrupted(memory: Memory, act: Callable[[], None], after: int) -> bool:
    """Let power go after so many bytes; tell whether it went."""
    memory.cut_after = after
    try:
        act()
    except PowerLost:
        return True
    finally:
        memory.cut_after = None
    return False


class TestPower:
    """Power may go at any byte."""

    @pytest.mark.parametrize("before", [1, 123, 249, 375])
    def test_old_or_new(self, before: int):
        """Wherever power goes in a write, afterwards the old or the new value is there, and the others are."""
        history, written = store()
        written.put("n", "kept", "str", "for ever")
        for number in range(before):
            written.put("n", "k", "u32", number)
        after = 0
        while True:
            memory, written = store(history.read(AT, SIZE))
            went = interrupted(memory, lambda written=written: written.put("n", "k", "u32", before), after)
            again = NvsStore(memory, AT, SIZE)
            examined = nvs.examine(memory.read(AT, SIZE))
            found = examined.namespaces["n"]
            assert not [fault for fault in examined.faults if fault.startswith("entry")]
            assert found["kept"] == "for ever"
            assert found["k"] in {before - 1, before}
            again.put("n", "more", "str", "m")
            assert values(memory)["n"] == {**found, "more": "m"}
            if not went:
                break
            after += 1 if after < 150 else 397  # an erased page has 4096 bytes

        assert after > 30

    def test_string_of_several_entries(self):
        """Wherever power goes while a long string is replaced, nothing is left of it that is no entry."""
        for after in range(32 * 3 + 3 + 3):
            memory, written = store()
            written.put("n", "k", "str", "old" * 20)
            assert interrupted(memory, lambda written=written: written.put("n", "k", "str", "new" * 20), after)
            assert values(memory)["n"]["k"] in {"old" * 20, "new" * 20}

    def test_two_of_a_key(self):
        """Where power went between writing the new and striking out the old, the new stays, whatever moves later."""
        memory, written = store()
        written.put("n", "k", "u8", 1)
        for number in range(125):  # the first page is full
            written.put("n", "turn0", "u32", number)
        for number in range(5):  # and the second one will not be the one with the least on it
            written.put("n", f"more{number}", "u32", number)
        memory.cut_after = 32 + 1  # the entry and its mark
        with pytest.raises(PowerLost):
            written.put("n", "k", "u8", 2)
        memory.cut_after = None
        for number in range(500):  # so many at a time that the first page has the least on it
            written.put("n", f"turn{number % 8}", "u32", number)
        found = values(memory)["n"]

        assert found["k"] == 2
        assert found["turn3"] == 499

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("abcdef"), st.text(max_size=60), st.integers(0, 300)), max_size=60))
    def test_any_history(self, history: list[tuple[str, str, int]]):
        """Whatever is written, and wherever power goes in it, each key has its last whole value or the one before."""
        memory, written = store()
        known: dict[str, str] = {}
        for key, text, cut in history:
            value = text.replace("\0", "")
            went = interrupted(
                memory, lambda key=key, value=value: written.put("n", key, "str", value), cut if cut < 200 else 10**9
            )
            examined = nvs.examine(memory.read(AT, SIZE))
            found = examined.namespaces.get("n", {})
            assert not [fault for fault in examined.faults if fault.startswith("entry")]
            if not went or found.get(key) == value:
                known[key] = value
            assert found == known
