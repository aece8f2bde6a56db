"""The scenarios of the page."""

from __future__ import annotations

import msgspec

from harness.report.markup import TEXT_CHARACTERS
from harness.report.scenarios import MESSAGE_CHARACTERS, command, crash, scenarios, spotlight
from tests.harness.report.samples import FAILED, HANDOVER, SCENARIOS, WIFI
from tests.harness.report.test_markup import read

PLACES = {id(one): place for place, one in enumerate(SCENARIOS)}


def test_failed_ones_come_first():
    """Then what was skipped; the one at the top is a link to it."""
    text = scenarios(FAILED, 0, WIFI, PLACES)
    seen = read(text).text

    assert "2 failed, 1 skipped, 4 passed" in seen
    assert seen.index(WIFI.doc) < seen.index(HANDOVER.doc) < seen.index("rolled back") < seen.index("A hello is")
    assert 'href="#first"' in text
    assert text.count("<figure") == 5  # not of the one at the top, nor of the one that was skipped


def test_a_few_need_no_filter():
    """Fewer than five can be seen at once."""
    few = msgspec.structs.replace(FAILED, scenarios=SCENARIOS[:4])

    assert '"filters"' in scenarios(FAILED, 0, None, PLACES)
    assert '"filters"' not in scenarios(few, 0, None, PLACES)
    assert scenarios(msgspec.structs.replace(FAILED, scenarios=()), 0, None, PLACES) is None


def test_the_crash_stands_with_its_scenario():
    """Decoded, open, in the scenario that it happened in."""
    text = read(spotlight(FAILED, HANDOVER, 3, several=False)).text

    assert "panic (LoadProhibited) at 1.950 s" in text
    assert "WebsocketProtocol::OpenAudioChannel()" in text
    assert "Guru" not in read(spotlight(FAILED, WIFI, 2, several=False)).text


def test_another_fault_than_the_verdict_is_said():
    """A scenario that failed because of the network is not put on the firmware."""
    other = msgspec.structs.replace(WIFI, blames="network")

    assert "network fault" in read(spotlight(FAILED, other, 2, several=False)).text
    assert "fault" not in read(spotlight(FAILED, WIFI, 2, several=False)).text


def test_a_command_is_copied_as_it_is():
    """Its words are in pieces for the eye, and one text for the clipboard."""
    markup = command("a  b --c", "reproduce")

    assert read(markup[markup.index("<code>") : markup.index("</code>")]).text == "a  b --c"
    assert command("", "reproduce") is None


def test_long_texts_are_cut():
    """A message and a dump have limits, and say what is left out."""
    long = msgspec.structs.replace(WIFI, message="x" * (MESSAGE_CHARACTERS + 1))
    dump = msgspec.structs.replace(FAILED.crashes[0], text="x" * (TEXT_CHARACTERS + 1))

    assert "1 characters more are in the record" in spotlight(FAILED, long, 0, several=False)
    assert "1 characters more are in the record" in crash(dump)
