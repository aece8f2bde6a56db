"""Options of the firmware, as a build carries them."""

from __future__ import annotations

import pytest

from harness.errors import Misuse
from harness.virtual.firmware.options import Options, parse_options


def test_none():
    """Without options it behaves well."""
    assert parse_options([]) == Options()
    assert Options().acks
    assert Options().automatic


def test_all_kinds():
    """Booleans, numbers and names are read as what they are."""
    words = [
        "acks=false",
        "boot_delay_seconds=1.5",
        "heap_leak=4096",
        "panic_on_handover=abort",
        "panic_after_seconds=2",
    ]

    assert parse_options(words) == Options(
        acks=False, boot_delay_seconds=1.5, heap_leak=4096, panic_on_handover="abort", panic_after_seconds=2.0
    )


@pytest.mark.parametrize("word", ["fly=1", "acks=maybe", "heap_leak=much", "acks"])
def test_what_there_is_not(word: str):
    """Anything else is refused, with what there is."""
    with pytest.raises(Misuse, match=r"expected options of the built-in firmware \(acks, automatic, "):
        parse_options([word])
