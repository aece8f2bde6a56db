"""What every mailbox promises, run on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import MailboxFailed, Misuse
from gateway.identity import DeviceId
from gateway.peer.mailbox import EVENT_KINDS, SET_ASIDE_PER_DEVICE, Depth, Letter, Mailbox, Stored
from gateway.protocol import limits
from tests.peer.letters import DEDUPE, MAKERS, PER_DEVICE, TOTAL, A, B, C, Clock, event, ids, letter


@pytest.fixture
def clock() -> Clock:
    """A wall clock to move."""
    return Clock()


@pytest.fixture(params=MAKERS)
async def mailbox(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Mailbox]:
    """Each kind of mailbox, open."""
    made = MAKERS[request.param](tmp_path, per_device=PER_DEVICE, total=TOTAL, dedupe=DEDUPE, wall_clock=clock)
    await made.open()
    yield made
    await made.close()


# --- storing ------------------------------------------------------------------------------------------------------


async def test_letter_comes_back_as_it_was(mailbox: Mailbox) -> None:
    """Every field of a letter survives."""
    sent = Letter(A, B, "é\x00→", "peer", b"\x00\xff", 1.5, 2e9, True, "about", 7, "reason")
    summary = Letter(A, "", "s", "summary", b"{}", 3.0, 2e9)

    assert await mailbox.store([sent, summary]) == [Stored.STORED, Stored.STORED]

    assert await mailbox.waiting(A, 10) == [sent, summary]


async def test_letters_come_back_in_order_of_storing(mailbox: Mailbox) -> None:
    """Letters of one recipient keep their order, whoever sent them and however they are dated."""
    await mailbox.store([letter("1", life=50), letter("x", to=C), letter("2", sender=C)])
    await mailbox.store([letter("3", life=10)])

    assert await ids(mailbox) == ["1", "2", "3"]
    assert await ids(mailbox, C) == ["x"]


async def test_calls_of_one_turn_keep_their_order(mailbox: Mailbox) -> None:
    """Operations that are called without waiting take effect in the order of the calls, reads among them."""
    answers = await asyncio.gather(
        mailbox.store([letter("1")]),
        mailbox.waiting(A, 10),
        mailbox.settle(A, [(B, "1")]),
        mailbox.waiting(A, 10),
        mailbox.store([letter("1"), letter("2")]),
    )

    assert answers[0] == [Stored.STORED]
    assert [kept.id for kept in answers[1]] == ["1"]
    assert answers[2] == 1
    assert answers[3] == []
    assert answers[4] == [Stored.SETTLED, Stored.STORED]


async def test_letter_of_the_same_name_is_a_duplicate(mailbox: Mailbox) -> None:
    """The first of two letters with one name stays, also within a call and past its expiry."""
    first, second = letter("1", life=10), letter("1", life=99)

    assert await mailbox.store([first, second]) == [Stored.STORED, Stored.DUPLICATE]
    assert await mailbox.store([second]) == [Stored.DUPLICATE]
    assert await mailbox.waiting(A, 10) == [first]


async def test_expired_letter_is_a_duplicate_until_it_is_taken(mailbox: Mailbox, clock: Clock) -> None:
    """A letter past its expiry keeps its name, as its sender still has to hear of it."""
    await mailbox.store([letter("1", life=10)])
    clock.now += 10

    assert await mailbox.store([letter("1")]) == [Stored.DUPLICATE]
    await mailbox.take_expired(10)
    assert await mailbox.store([letter("1", now=clock.now)]) == [Stored.STORED]


async def test_name_is_sender_id_and_recipient(mailbox: Mailbox) -> None:
    """Letters that differ in one part of the name are not the same."""
    same = [letter("1"), letter("2"), letter("1", sender=C), letter("1", to=C)]

    assert await mailbox.store(same) == [Stored.STORED] * 4


async def test_share_of_a_device_is_full(mailbox: Mailbox) -> None:
    """The share takes its limit and not one more; gateway letters and other devices do not use it."""
    assert await mailbox.store([letter(str(n)) for n in range(PER_DEVICE)]) == [Stored.STORED] * PER_DEVICE

    assert await mailbox.store([letter("more")]) == [Stored.FULL]
    assert await mailbox.store([letter("other", to=C)]) == [Stored.STORED]
    assert await mailbox.store([Letter(A, "", "s", "summary", b"{}", 0, 2e9)]) == [Stored.STORED]
    await mailbox.add_event(event("e"))
    assert await mailbox.store([letter("0")]) == [Stored.DUPLICATE], "a repeat is no further letter"
    assert await ids(mailbox) == ["0", "1", "2", "3", "s", "e"]


async def test_full_share_has_room_after_settling(mailbox: Mailbox) -> None:
    """A settled, a set-aside and an expired letter give their place back."""
    await mailbox.store([letter(str(n)) for n in range(PER_DEVICE)])
    await mailbox.settle(A, [(B, "0")])
    assert await mailbox.store([letter("4"), letter("5")]) == [Stored.STORED, Stored.FULL]
    await mailbox.set_aside(A, B, "1")

    assert await mailbox.store([letter("5"), letter("6")]) == [Stored.STORED, Stored.FULL]


async def test_sender_has_a_share_over_all_devices(tmp_path: Path, clock: Clock) -> None:
    """One device cannot fill the mailbox for everybody, even with letters to ids that nobody has."""
    for maker in MAKERS.values():
        mailbox = maker(tmp_path, per_device=4, per_sender=3, total=100, dedupe=DEDUPE, wall_clock=clock)
        await mailbox.open()
        nobody = [DeviceId(f"d{n}") for n in range(5)]
        stored = await mailbox.store([letter("1", to=device) for device in nobody])
        assert stored == [Stored.STORED] * 3 + [Stored.FULL] * 2
        assert await mailbox.store([letter("1", to=nobody[0]), letter("1", to=nobody[4], sender=C)]) == [
            Stored.DUPLICATE,
            Stored.STORED,
        ]
        assert await mailbox.store([Letter(A, "", "s", "summary", b"{}", 0, 2e9)]) == [Stored.STORED]

        await mailbox.settle(nobody[0], [(B, "1")])
        await mailbox.set_aside(nobody[1], B, "1")
        await mailbox.purge(nobody[2])
        stored = await mailbox.store([letter(name, to=nobody[3], life=1) for name in "1234"])
        assert stored == [Stored.STORED] * 3 + [Stored.FULL]
        clock.now += 1
        await mailbox.take_expired(1)
        assert await mailbox.store([letter("5"), letter("6")]) == [Stored.STORED, Stored.FULL]
        await mailbox.close()


async def test_expired_letters_hold_their_place_until_taken(mailbox: Mailbox, clock: Clock) -> None:
    """A share full of expired letters has room once they have been taken."""
    await mailbox.store([letter(str(n), life=1) for n in range(PER_DEVICE)])
    clock.now += 1
    assert await mailbox.store([letter("new")]) == [Stored.FULL]
    await mailbox.take_expired(1)

    assert await mailbox.store([letter("new", now=clock.now)]) == [Stored.STORED]


async def test_whole_mailbox_is_full(mailbox: Mailbox) -> None:
    """Past the total nothing is stored for anybody, not even summaries; events have room of their own."""
    devices = [DeviceId(f"d{n}") for n in range(TOTAL)]
    assert await mailbox.store([letter("1", to=device) for device in devices]) == [Stored.STORED] * TOTAL

    assert await mailbox.store([letter("1"), Letter(A, "", "s", "summary", b"{}", 0, 2e9)]) == [Stored.FULL] * 2
    await mailbox.set_aside(devices[0], B, "1")
    assert await mailbox.store([letter("1")]) == [Stored.FULL], "set aside is still kept"
    await mailbox.add_event(event("e"))
    assert await ids(mailbox) == ["e"]
    await mailbox.settle(devices[1], [(B, "1")])
    assert await mailbox.store([letter("1"), letter("2")]) == [Stored.STORED, Stored.FULL]


async def test_call_that_is_partly_full_keeps_the_rest(mailbox: Mailbox) -> None:
    """One answer per letter, in order; what fits is kept."""
    await mailbox.store([letter(str(n)) for n in range(PER_DEVICE)])

    assert await mailbox.store([letter("9"), letter("9", to=C), letter("0")]) == [
        Stored.FULL,
        Stored.STORED,
        Stored.DUPLICATE,
    ]


async def test_nothing_is_stored_for_no_letters(mailbox: Mailbox) -> None:
    """An empty call has an empty answer."""
    assert await mailbox.store([]) == []
    assert await mailbox.settle(A, []) == 0


@pytest.mark.parametrize("kind", sorted(EVENT_KINDS))
async def test_event_is_not_stored_as_letter(mailbox: Mailbox, kind: str) -> None:
    """Events come by add_event, where they merge; nothing of such a call is kept."""
    with pytest.raises(Misuse):
        await mailbox.store([letter("1"), event("e", kind=kind)])

    assert await ids(mailbox) == []


# --- reading ------------------------------------------------------------------------------------------------------


async def test_waiting_returns_the_oldest(mailbox: Mailbox) -> None:
    """As many as are asked for of one recipient, in the order in which they were stored."""
    await mailbox.store([letter("1"), letter("x", to=C), letter("2"), letter("3")])

    assert [kept.id for kept in await mailbox.waiting(A, 2)] == ["1", "2"]
    assert [kept.id for kept in await mailbox.waiting(A, 10)] == ["1", "2", "3"]
    assert await mailbox.waiting(A, 0) == []
    assert await mailbox.waiting(DeviceId("unknown"), 10) == []


async def test_expired_letters_are_not_returned(mailbox: Mailbox, clock: Clock) -> None:
    """A letter is good before its expiry and not at it."""
    await mailbox.store([letter("1", life=10), letter("2", life=20)])
    clock.now += 9.9
    assert await ids(mailbox) == ["1", "2"]
    clock.now += 0.1

    assert await ids(mailbox) == ["2"]
    assert [kept.id for kept in await mailbox.waiting(A, 1)] == ["2"], "the limit counts what is returned"


# --- settling -----------------------------------------------------------------------------------------------------


async def test_settled_letters_are_gone(mailbox: Mailbox) -> None:
    """Settling deletes the named letters of that recipient only, each counted once; unknown names are no error."""
    await mailbox.store([letter("1"), letter("2"), letter("3"), letter("1", to=C)])

    names = [(B, "1"), (B, "1"), (B, "nobody"), (C, "2"), (B, "3")]
    assert await mailbox.settle(A, names) == 2
    assert await mailbox.settle(A, names) == 0
    assert await ids(mailbox) == ["2"]
    assert await ids(mailbox, C) == ["1"]


async def test_settled_letter_is_remembered_for_the_dedupe_time(mailbox: Mailbox, clock: Clock) -> None:
    """A repeat is told apart up to the dedupe time after settling, whether or not somebody swept."""
    await mailbox.store([letter("1", life=9999), letter("2", life=9999)])
    await mailbox.settle(A, [(B, "1"), (B, "2")])
    clock.now += DEDUPE - 0.1
    assert await mailbox.take_expired(10) == []
    assert await mailbox.store([letter("1")]) == [Stored.SETTLED]
    clock.now += 0.1

    assert await mailbox.store([letter("1", now=clock.now)]) == [Stored.STORED]
    await mailbox.take_expired(10)
    assert await mailbox.store([letter("2", now=clock.now)]) == [Stored.STORED]
    assert await ids(mailbox) == ["1", "2"]


async def test_letter_can_be_settled_again_after_the_dedupe_time(mailbox: Mailbox, clock: Clock) -> None:
    """The second life of a name has its own dedupe time."""
    for _ in range(2):
        assert await mailbox.store([letter("1", now=clock.now)]) == [Stored.STORED]
        assert await mailbox.settle(A, [(B, "1")]) == 1
        assert await mailbox.store([letter("1")]) == [Stored.SETTLED]
        clock.now += DEDUPE


async def test_settled_names_are_bounded(mailbox: Mailbox, clock: Clock) -> None:
    """Past the total the names settled first are forgotten, and that is counted."""
    for n in range(TOTAL + 2):
        await mailbox.store([letter(str(n))])
        await mailbox.settle(A, [(B, str(n))])
        clock.now += 0.001

    repeats = [letter(str(n)) for n in range(1, TOTAL + 2)]
    assert await mailbox.store(repeats) == [Stored.STORED, *[Stored.SETTLED] * TOTAL]
    assert (await mailbox.depth()).dropped == 2


async def test_nothing_is_remembered_without_dedupe_time(tmp_path: Path, clock: Clock) -> None:
    """A dedupe time of 0 turns the memory off."""
    for maker in MAKERS.values():
        mailbox = maker(tmp_path, per_device=1, total=1, dedupe=0.0, wall_clock=clock)
        await mailbox.open()
        for _ in range(3):
            assert await mailbox.store([letter("1")]) == [Stored.STORED]
            assert await mailbox.settle(A, [(B, "1")]) == 1
        assert (await mailbox.depth()).dropped == 0
        await mailbox.close()


async def test_expired_or_set_aside_letters_can_be_settled(mailbox: Mailbox, clock: Clock) -> None:
    """An acknowledgement counts however late it comes: the recipient has the letter."""
    await mailbox.store([letter("1", life=1), letter("2")])
    await mailbox.set_aside(A, B, "2")
    clock.now += 1

    assert await mailbox.settle(A, [(B, "1"), (B, "2")]) == 2
    assert await mailbox.take_expired(10) == []
    assert await mailbox.depth() == Depth(0, 0, 0.0)
    assert await mailbox.store([letter("2")]) == [Stored.SETTLED]


# --- events -------------------------------------------------------------------------------------------------------


async def test_events_merge_by_adding_counts(mailbox: Mailbox) -> None:
    """Same recipient, kind, about and reason: one event, with the new id and place and the counts added."""
    await mailbox.add_event(event("e1", count=2, life=10))
    await mailbox.store([letter("1")])
    await mailbox.add_event(event("e2", count=3, life=20))
    await mailbox.add_event(event("e3", count=4, life=30))

    one, merged = await mailbox.waiting(A, 10)
    assert one.id == "1"
    assert merged == event("e3", count=9, life=30)
    assert await mailbox.settle(A, [("", "e1"), ("", "e2")]) == 0
    assert await mailbox.settle(A, [("", "e3")]) == 1


@pytest.mark.parametrize(
    "other",
    [
        event("e2", to=C),
        event("e2", kind="delivered"),
        event("e2", about=C),
        event("e2", reason="ttl"),
    ],
    ids=["recipient", "kind", "about", "reason"],
)
async def test_different_events_do_not_merge(mailbox: Mailbox, other: Letter) -> None:
    """Each of the four parts keeps events apart."""
    await mailbox.add_event(event("e1"))
    await mailbox.add_event(other)

    kept = [kept for device in (A, C) for kept in await mailbox.waiting(device, 10)]
    assert kept == [event("e1"), other]


async def test_event_does_not_merge_into_what_waits_no_longer(mailbox: Mailbox, clock: Clock) -> None:
    """Settled, set-aside and expired events keep their counts to themselves."""
    await mailbox.add_event(event("settled"))
    await mailbox.settle(A, [("", "settled")])
    await mailbox.add_event(event("aside"))
    await mailbox.set_aside(A, "", "aside")
    await mailbox.add_event(event("expired", life=1))
    clock.now += 1
    await mailbox.add_event(event("new", count=5))

    assert await mailbox.waiting(A, 10) == [event("new", count=5)]


async def test_event_does_not_merge_with_one_that_its_recipient_may_have_seen(mailbox: Mailbox) -> None:
    """It was sent, or read out of the mailbox: the recipient may have counted it already."""
    await mailbox.add_event(event("unsent", count=1))
    await mailbox.add_event(event("sent", count=2), sent=True)
    await mailbox.add_event(event("read", count=4))
    await mailbox.waiting(A, 3)
    await mailbox.add_event(event("new", count=8))
    await mailbox.add_event(event("newer", count=16))

    kept = [(one.id, one.count) for one in await mailbox.waiting(A, 10)]
    assert kept == [("unsent", 1), ("sent", 2), ("read", 4), ("newer", 24)]


async def test_event_that_was_not_reached_is_merged(mailbox: Mailbox) -> None:
    """A reader that takes fewer than there are has not seen the others."""
    await mailbox.store([letter("1")])
    await mailbox.add_event(event("e1", count=1))
    assert [one.id for one in await mailbox.waiting(A, 1)] == ["1"]
    await mailbox.add_event(event("e2", count=2))

    assert [one.count for one in await mailbox.waiting(A, 10)][1:] == [3]


async def test_event_with_a_known_id_changes_nothing(mailbox: Mailbox, clock: Clock) -> None:
    """A repeated call does not count twice, whatever became of the event, until its name is forgotten."""
    await mailbox.add_event(event("e", count=2))
    await mailbox.add_event(event("e", count=2))
    assert [kept.count for kept in await mailbox.waiting(A, 10)] == [2]
    await mailbox.set_aside(A, "", "e")
    await mailbox.add_event(event("e", count=2))
    assert await ids(mailbox) == []
    await mailbox.settle(A, [("", "e")])
    await mailbox.add_event(event("e", count=2))
    assert await ids(mailbox) == []
    clock.now += DEDUPE

    await mailbox.add_event(event("e", count=2, now=clock.now))
    assert await ids(mailbox) == ["e"]


async def test_events_of_a_device_are_bounded(tmp_path: Path, clock: Clock) -> None:
    """Past the limit the recipient's oldest event goes, and that is counted; summaries are no events."""
    for maker in MAKERS.values():
        mailbox = maker(tmp_path, per_device=1, total=1000, dedupe=DEDUPE, wall_clock=clock)
        await mailbox.open()
        await mailbox.store([Letter(A, "", "summary", "summary", b"{}", 0, 2e9)])
        for n in range(limits.MAILBOX_EVENTS):
            await mailbox.add_event(event(f"e{n}", about=f"device {n}"))
        assert (await mailbox.depth()).dropped == 0
        await mailbox.add_event(event("merged", about="device 0", count=1))
        assert (await mailbox.depth()).dropped == 0
        await mailbox.add_event(event("more", about="another"))

        expected = ["summary", *(f"e{n}" for n in range(2, limits.MAILBOX_EVENTS)), "merged", "more"]
        assert await ids(mailbox) == expected
        assert (await mailbox.depth()).dropped == 1
        await mailbox.close()


async def test_events_are_bounded_in_all(mailbox: Mailbox) -> None:
    """Past the total a recipient loses its own oldest event, and one without any loses the new one."""
    for n in range(TOTAL):
        await mailbox.add_event(event(f"e{n}", to=DeviceId(f"d{n % 5}"), about=str(n)))
    await mailbox.add_event(event("more", to=DeviceId("d0"), about="more"))
    await mailbox.add_event(event("lost", to=C))

    assert await ids(mailbox, DeviceId("d0")) == ["e5", "more"]
    assert await ids(mailbox, C) == []
    assert (await mailbox.depth()).dropped == 2


async def test_only_events_are_added(mailbox: Mailbox) -> None:
    """A letter of a device, a summary, and an event with a sender are a mistake of the caller."""
    for wrong in (letter("1"), Letter(A, "", "s", "summary", b"", 0, 2e9), Letter(A, B, "e", "expired", b"", 0, 2e9)):
        with pytest.raises(Misuse):
            await mailbox.add_event(wrong)
        with pytest.raises(Misuse):
            await mailbox.set_aside(A, B, "1", notice=wrong)


# --- setting aside ------------------------------------------------------------------------------------------------


async def test_letter_is_set_aside(mailbox: Mailbox) -> None:
    """It is no longer waiting but still kept; a second time it is not there to be set aside."""
    await mailbox.store([letter("1"), letter("2")])

    assert await mailbox.set_aside(A, B, "1") is True
    assert await mailbox.set_aside(A, B, "1") is False
    assert await mailbox.set_aside(A, B, "unknown") is False
    assert await mailbox.set_aside(C, B, "2") is False
    assert await ids(mailbox) == ["2"]
    assert await mailbox.depth() == Depth(1, 1, 0.0)


async def test_set_aside_letter_makes_room_for_itself(mailbox: Mailbox) -> None:
    """Storing a letter that was set aside puts it back into the queue, even into a full mailbox."""
    await mailbox.store([letter("1")])
    await mailbox.set_aside(A, B, "1")
    await mailbox.store([letter("1", to=DeviceId(f"d{n}")) for n in range(TOTAL - 1)])

    assert await mailbox.store([letter("2"), letter("1")]) == [Stored.FULL, Stored.STORED]
    assert await ids(mailbox) == ["1"]
    assert (await mailbox.depth()).set_aside == 0


async def test_set_aside_letter_does_not_exceed_the_share(mailbox: Mailbox) -> None:
    """Where its share is full meanwhile, a set-aside letter stays set aside."""
    await mailbox.store([letter("aside")])
    await mailbox.set_aside(A, B, "aside")
    await mailbox.store([letter(str(n)) for n in range(PER_DEVICE)])

    assert await mailbox.store([letter("aside")]) == [Stored.FULL]
    assert (await mailbox.depth()).set_aside == 1


async def test_set_aside_letters_of_a_device_are_bounded(tmp_path: Path, clock: Clock) -> None:
    """Past the limit the device's oldest goes, and that is counted."""
    for maker in MAKERS.values():
        mailbox = maker(tmp_path, per_device=500, total=500, dedupe=DEDUPE, wall_clock=clock)
        await mailbox.open()
        await mailbox.store([letter("other", to=C)])
        await mailbox.set_aside(C, B, "other")
        names = [str(n) for n in range(SET_ASIDE_PER_DEVICE + 1)]
        await mailbox.store([letter(name) for name in names])
        for name in reversed(names[1:]):
            await mailbox.set_aside(A, B, name)
        assert (await mailbox.depth()).dropped == 0
        await mailbox.set_aside(A, B, "0")

        assert await mailbox.depth() == Depth(0, SET_ASIDE_PER_DEVICE + 1, 0.0, 1)
        assert await mailbox.settle(A, [(B, "0")]) == 0, "the oldest is the one that was stored first"
        assert await mailbox.settle(A, [(B, "1")]) == 1
        assert await mailbox.settle(C, [(B, "other")]) == 1
        await mailbox.close()


async def test_notice_of_setting_aside_is_kept_with_it(mailbox: Mailbox) -> None:
    """The sender's event merges like any other, and is kept only if the letter was there."""
    await mailbox.add_event(event("e1", to=B, kind="dropped", about=A, reason="attempts"))
    await mailbox.store([letter("1")])
    notice = event("e2", to=B, kind="dropped", about=A, reason="attempts")

    assert await mailbox.set_aside(A, B, "1", notice)
    assert not await mailbox.set_aside(A, B, "1", event("e3", to=B, kind="dropped", about=A, reason="attempts"))
    assert [(kept.id, kept.count) for kept in await mailbox.waiting(B, 10)] == [("e2", 2)]


# --- expiry -------------------------------------------------------------------------------------------------------


async def test_expired_letters_are_taken_once(mailbox: Mailbox, clock: Clock) -> None:
    """They come in the order of expiry, at most as many as asked, and are gone then."""
    await mailbox.store([letter("1", life=30), letter("2", life=10), letter("3", life=20, to=C), letter("4", life=99)])
    await mailbox.add_event(event("e", life=40))
    assert await mailbox.take_expired(10) == []
    clock.now += 40

    assert [taken.id for taken in await mailbox.take_expired(2)] == ["2", "3"]
    assert await mailbox.take_expired(2) == [letter("1", life=30), event("e", life=40)]
    assert await mailbox.take_expired(2) == []
    assert await ids(mailbox) == ["4"]


async def test_notices_of_expiry_are_kept_with_it(mailbox: Mailbox, clock: Clock) -> None:
    """For each letter taken its event is kept, merged; None tells nobody."""
    await mailbox.store([letter("1", life=10), letter("2", life=10), letter("3", life=10, sender=C)])
    clock.now += 10

    def notice(lost: Letter) -> Letter | None:
        if lost.sender != B:
            return None
        return event(f"about {lost.id}", to=B, kind="expired", about=lost.recipient, reason="ttl", now=clock.now)

    assert len(await mailbox.take_expired(10, notice)) == 3
    assert await mailbox.waiting(B, 10) == [
        event("about 2", to=B, kind="expired", about=A, count=2, reason="ttl", now=clock.now)
    ]
    assert await ids(mailbox, C) == []


async def test_wrong_notice_takes_nothing(mailbox: Mailbox, clock: Clock) -> None:
    """When the notice is no event, or fails, the letters stay."""
    await mailbox.store([letter("1", life=10), letter("2", life=10)])
    clock.now += 10

    with pytest.raises(Misuse):
        await mailbox.take_expired(10, lambda lost: lost)
    with pytest.raises(ZeroDivisionError):
        await mailbox.take_expired(10, lambda lost: event("e") if lost.id == "1" else 1 // 0)

    assert [taken.id for taken in await mailbox.take_expired(10)] == ["1", "2"]
    assert await ids(mailbox) == []


async def test_set_aside_letters_are_forgotten_at_their_expiry(mailbox: Mailbox, clock: Clock) -> None:
    """They are not returned, as their sender has been told already."""
    await mailbox.store([letter("1", life=10), letter("2", life=20)])
    await mailbox.set_aside(A, B, "1")
    await mailbox.set_aside(A, B, "2")
    clock.now += 10

    assert await mailbox.take_expired(10) == []
    assert (await mailbox.depth()).set_aside == 1


async def test_set_aside_letter_is_forgotten_when_nothing_else_expires(mailbox: Mailbox, clock: Clock) -> None:
    """An earlier sweep does not make the mailbox overlook it."""
    await mailbox.store([letter("1", life=10), letter("2", life=5)])
    await mailbox.set_aside(A, B, "1")
    clock.now += 5
    await mailbox.take_expired(10)
    assert (await mailbox.depth()).set_aside == 1
    clock.now += 5
    await mailbox.take_expired(10)

    assert (await mailbox.depth()).set_aside == 0


async def test_late_letter_with_an_early_expiry_is_taken(mailbox: Mailbox, clock: Clock) -> None:
    """A letter that is stored past its expiry is kept and taken like others."""
    await mailbox.store([letter("1", life=1000)])
    await mailbox.take_expired(10)
    await mailbox.store([letter("2", life=-5)])

    assert await ids(mailbox) == ["1"]
    assert [taken.id for taken in await mailbox.take_expired(10)] == ["2"]


# --- purging, depth, life -----------------------------------------------------------------------------------------


async def test_purge_deletes_everything_of_a_device(mailbox: Mailbox) -> None:
    """Waiting, set aside, events; what is settled is forgotten but not counted. Others keep theirs."""
    await mailbox.store([letter("1"), letter("2"), letter("3"), letter("1", to=C)])
    await mailbox.settle(A, [(B, "1")])
    await mailbox.set_aside(A, B, "2")
    await mailbox.add_event(event("e"))

    assert await mailbox.purge(A) == 3
    assert await mailbox.purge(A) == 0
    assert await mailbox.depth() == Depth(1, 0, 0.0)
    assert await mailbox.store([letter(str(n)) for n in range(1, PER_DEVICE + 1)]) == [Stored.STORED] * PER_DEVICE


async def test_depth(mailbox: Mailbox, clock: Clock) -> None:
    """It counts what waits and what is set aside, and tells the age of the oldest waiting one, never below 0."""
    assert await mailbox.depth() == Depth(0, 0, 0.0)
    await mailbox.store([letter("1", now=clock.now + 5)])
    assert await mailbox.depth() == Depth(1, 0, 0.0)
    clock.now += 20
    await mailbox.store([letter("2", now=clock.now - 60), letter("3", now=clock.now - 90)])
    await mailbox.set_aside(A, B, "3")

    assert await mailbox.depth() == Depth(2, 1, 60.0)


async def test_healthy_mailbox_has_not_failed(mailbox: Mailbox) -> None:
    """Readiness sees no reason."""
    await mailbox.store([letter("1")])

    assert mailbox.failed is None


async def test_closed_mailbox_refuses(mailbox: Mailbox) -> None:
    """Whatever is called after close fails, with nothing kept."""
    await mailbox.close()
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: mailbox.store([letter("1")]),
        lambda: mailbox.add_event(event("e")),
        lambda: mailbox.waiting(A, 1),
        lambda: mailbox.settle(A, []),
        lambda: mailbox.set_aside(A, B, "1"),
        lambda: mailbox.take_expired(1),
        lambda: mailbox.purge(A),
        mailbox.depth,
    ]
    for call in calls:
        with pytest.raises(MailboxFailed):
            await call()


@pytest.mark.parametrize("maker", MAKERS)
async def test_mailbox_must_be_opened(maker: str, tmp_path: Path, clock: Clock) -> None:
    """Before open nothing is taken, and closing it is no error."""
    mailbox = MAKERS[maker](tmp_path, per_device=1, total=1, dedupe=1.0, wall_clock=clock)

    with pytest.raises(MailboxFailed):
        await mailbox.store([letter("1")])
    await mailbox.close()


async def test_close_is_idempotent(mailbox: Mailbox) -> None:
    """Closing again, also at the same time, is no error."""
    await asyncio.gather(mailbox.close(), mailbox.close())
    await mailbox.close()


async def test_letters_given_may_be_changed_afterwards(mailbox: Mailbox) -> None:
    """A call takes the letters as they are when it is made."""
    letters = [letter("1")]
    storing = asyncio.create_task(mailbox.store(letters))
    await asyncio.sleep(0)
    letters.clear()

    assert await storing == [Stored.STORED]


# --- who acknowledges ---------------------------------------------------------------------------------------------


async def test_acknowledgers_are_kept(mailbox: Mailbox) -> None:
    """The one noted last stands at the end; a device that does not acknowledge any more is forgotten."""
    for device in (A, B, C, A):
        await mailbox.note_acknowledger(device, acknowledges=True)
    await mailbox.note_acknowledger(B, acknowledges=False)
    await mailbox.note_acknowledger(B, acknowledges=False)
    await mailbox.purge(C)

    assert await mailbox.acknowledgers() == [C, A]


async def test_acknowledgers_are_bounded(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit all are kept; past it the one that was noted longest ago is forgotten."""
    monkeypatch.setattr(limits, "KNOWN_ACKNOWLEDGERS", 2)
    for device in (A, B):
        await mailbox.note_acknowledger(device, acknowledges=True)
    assert await mailbox.acknowledgers() == [A, B]

    await mailbox.note_acknowledger(C, acknowledges=True)
    assert await mailbox.acknowledgers() == [B, C]
