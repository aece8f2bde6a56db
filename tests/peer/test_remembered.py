"""Receipts that are remembered for senders who repeat themselves."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateway.identity import DeviceId
from gateway.peer import remembered
from gateway.peer.receipt import Receipt
from gateway.peer.remembered import Remembered

A, B = DeviceId("aa"), DeviceId("bb")


def receipt(sender=A, id_="m1"):
    """Make a receipt."""
    return Receipt(sender, id_, 1, now=0.0)


def test_found_until_its_time_is_over():
    """A receipt is found for as long as it is remembered, and not a moment longer."""
    memory = Remembered(600.0)
    first = receipt()
    memory.add(first, "m1", 100.0)
    assert memory.find(A, "m1", 100.0) is first
    assert memory.find(A, "m1", 699.999) is first
    assert memory.find(A, "m1", 700.0) is None


def test_named_by_sender_and_id():
    """Another sender's message with the same id is another message."""
    memory = Remembered(600.0)
    memory.add(receipt(), "m1", 0.0)
    assert memory.find(B, "m1", 0.0) is None
    assert memory.find(A, "m2", 0.0) is None


def test_forgotten_on_demand():
    """A receipt that is forgotten is found no more; a receipt without id was never there."""
    memory = Remembered(600.0)
    first = receipt()
    memory.add(first, "m1", 0.0)
    memory.forget(receipt(id_=None))
    assert len(memory) == 1
    memory.forget(first)
    memory.forget(first)
    assert memory.find(A, "m1", 0.0) is None


def test_added_anew():
    """An id that is used again after its time counts from the later use."""
    memory = Remembered(600.0)
    memory.add(receipt(), "m1", 0.0)
    later = receipt()
    memory.add(later, "m1", 600.0)
    assert memory.find(A, "m1", 1199.0) is later
    assert len(memory) == 1


def test_what_is_over_makes_room():
    """Adding drops what is remembered no longer, so that nothing is kept for ever."""
    memory = Remembered(600.0)
    for number in range(100):
        memory.add(receipt(id_=f"m{number}"), f"m{number}", float(number))
    memory.add(receipt(id_="last"), "last", 650.0)
    assert len(memory) == 50


def test_bounded(monkeypatch):
    """Past the limit the oldest is forgotten."""
    monkeypatch.setattr(remembered, "_MOST", 3)
    memory = Remembered(600.0)
    for number in range(5):
        memory.add(receipt(id_=f"m{number}"), f"m{number}", 0.0)
    assert len(memory) == 3
    assert memory.find(A, "m1", 0.0) is None
    assert memory.find(A, "m2", 0.0) is not None


def test_room_is_made_where_most_is(monkeypatch):
    """Past the limit the sender with the most loses its oldest; one with few keeps all, though they are older."""
    monkeypatch.setattr(remembered, "_MOST", 100)
    memory = Remembered(600.0)
    for number in range(10):
        memory.add(receipt(B, f"b{number}"), f"b{number}", float(number))
    for number in range(500):
        memory.add(receipt(id_=f"a{number}"), f"a{number}", 10.0)
    assert len(memory) == 100
    assert all(memory.find(B, f"b{number}", 10.0) for number in range(10))
    assert [number for number in range(500) if memory.find(A, f"a{number}", 10.0)] == list(range(410, 500))


def test_who_has_most_is_known_after_forgetting(monkeypatch):
    """A sender whose receipts were forgotten may still be the one with the most, with fewer."""
    monkeypatch.setattr(remembered, "_MOST", 8)
    memory = Remembered(600.0)
    for number in range(8):
        memory.add(receipt(id_=str(number)), str(number), 0.0)
    for number in range(3):
        memory.forget(receipt(id_=str(number)))
    for number in range(4):
        memory.add(receipt(B, str(number)), str(number), 0.0)
    assert memory.find(A, "3", 0.0) is None
    assert [number for number in range(4, 8) if memory.find(A, str(number), 0.0)] == [4, 5, 6, 7]
    assert len(memory) == 8


def test_ordinary_load_is_remembered_for_the_whole_time():
    """A hundred devices at a message a second lose nothing in ten minutes."""
    memory = Remembered(600.0)
    senders = [DeviceId(f"d{number}") for number in range(100)]
    for second in range(600):
        for sender in senders:
            memory.add(receipt(sender, str(second)), str(second), float(second))
    assert len(memory) == 60_000
    assert all(memory.find(sender, "0", 599.9) for sender in senders)


def test_senders_who_are_gone_make_room():
    """What is over is dropped when anybody adds, even if its sender never comes again."""
    memory = Remembered(600.0)
    for number in range(50):
        memory.add(receipt(DeviceId(f"d{number}")), "m1", float(number))
    memory.add(receipt(B), "m1", 630.0)
    assert len(memory) == 20


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=80))
def test_most_is_known_at_any_time(steps):
    """Whatever was added and forgotten, the limit holds, and only who has the most loses anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "_MOST", 8)
        memory, model = Remembered(600.0), {sender: [] for sender in "abc"}
        for sender, number, forgets in steps:
            kept = model[sender]
            if number in kept:
                kept.remove(number)
            if forgets:
                memory.forget(receipt(DeviceId(sender), str(number)))
                continue
            memory.add(receipt(DeviceId(sender), str(number)), str(number), 0.0)
            kept.append(number)
            if sum(map(len, model.values())) > 8:
                most = max(map(len, model.values()))
                lost = [
                    one
                    for one in "abc"
                    if len(model[one]) == most and memory.find(DeviceId(one), str(model[one][0]), 0.0) is None
                ]
                assert len(lost) == 1
                del model[lost[0]][0]
            assert len(memory) == sum(map(len, model.values()))
            assert all(memory.find(DeviceId(one), str(n), 0.0) for one in "abc" for n in model[one])


def test_off():
    """With no time at all nothing is remembered."""
    memory = Remembered(0.0)
    memory.add(receipt(), "m1", 5.0)
    assert memory.find(A, "m1", 5.0) is None
    assert len(memory) == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "find", "forget"]),
            st.sampled_from([A, B]),
            st.sampled_from(["m1", "m2", "m3"]),
            st.floats(0, 30),
        ),
        max_size=40,
    )
)
def test_as_a_plain_dictionary_would(steps):
    """Any sequence of calls finds what a dictionary of the latest receipts would."""
    memory, model, now = Remembered(50.0), {}, 0.0
    for step, sender, id_, passed in steps:
        now += passed
        known = model.get((sender, id_))
        if step == "add":
            new = receipt(sender, id_)
            memory.add(new, id_, now)
            model[sender, id_] = (now, new)
        elif step == "forget":
            memory.forget(receipt(sender, id_))
            model.pop((sender, id_), None)
        elif known is None or now - known[0] >= 50.0:
            assert memory.find(sender, id_, now) is None
        else:
            assert memory.find(sender, id_, now) is known[1]
        assert len(memory) <= len(model)


def test_full_memory_takes_more_as_quickly(monkeypatch):
    """Past the limit, too, each takes the same time, with one sender or with thousands."""
    monkeypatch.setattr(remembered, "_MOST", 20_000)
    for senders in (1, 20_000):
        memory = Remembered(600.0)
        for number in range(60_000):
            memory.add(receipt(DeviceId(str(number % senders)), str(number)), str(number), 0.0)
        assert len(memory) == 20_000


@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_room_is_made_quickly(gap):
    """Forgetting the oldest takes no longer the more was forgotten before it."""
    memory = Remembered(10.0)
    for number in range(20_000):
        memory.add(receipt(id_=str(number)), str(number), number * gap)
    assert len(memory) == (200 if gap else 20_000)
