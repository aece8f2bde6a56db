"""What a sender is told became of its message."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateway.identity import DeviceId
from gateway.peer.receipt import Receipt
from gateway.protocol.limits import DOWNLINK_BYTES, PEER_TARGETS
from gateway.protocol.messages import encode

A, B, C, D = map(DeviceId, ("aa", "bb", "cc", "dd"))


def wire(receipt, now=10.0, **options):
    """Return the receipt as its sender gets it."""
    return json.loads(encode(receipt.message(now, **options)))


def test_each_outcome_in_its_list():
    """A target is in exactly one list; why one failed is told, too."""
    receipt = Receipt(A, "m1", 3, now=10.0)
    assert not receipt.complete
    receipt.delivered(B, acknowledged=True)
    receipt.enqueued(C)
    assert not receipt.complete
    receipt.failed(D, "MAILBOX_FULL")
    assert receipt.complete
    assert wire(receipt, 10.0384) == {
        "type": "peer",
        "status": "done",
        "id": "m1",
        "delivered": ["bb"],
        "enqueued": ["cc"],
        "failed": ["dd"],
        "summary": "1 delivered, 1 enqueued, 1 failed",
        "elapsedMs": 38,
        "targetsCount": 3,
        "reasons": {"dd": "MAILBOX_FULL"},
    }


def test_the_seeds_shape():
    """Where there is nothing more to say, nothing is added to the receipt as the seed fork knows it."""
    receipt = Receipt(A, None, 1, now=10.0)
    receipt.delivered(B, acknowledged=True)
    assert wire(receipt) == {
        "type": "peer",
        "status": "done",
        "delivered": ["bb"],
        "enqueued": [],
        "failed": [],
        "summary": "1 delivered",
        "elapsedMs": 0,
        "targetsCount": 1,
    }


def test_confirmed_by_tcp_only():
    """One delivery without an acknowledgement is enough for `confirm` to say so."""
    receipt = Receipt(A, "m1", 2, now=0.0)
    receipt.delivered(B, acknowledged=True)
    assert "confirm" not in wire(receipt)
    receipt.delivered(C, acknowledged=False)
    assert wire(receipt)["confirm"] == "written"


def test_a_broadcast_to_nobody():
    """Alone in the house: done at once, with nothing in any list."""
    receipt = Receipt(A, "m1", 0, now=0.0)
    assert receipt.complete
    assert receipt.worth_remembering
    assert wire(receipt)["summary"] == "no targets"


def test_a_repeat_gets_the_same_receipt():
    """The receipt is written again as it was, its time included, and says that it is a duplicate."""
    receipt = Receipt(A, "m1", 1, now=10.0)
    receipt.enqueued(B)
    first = wire(receipt, 10.2)
    assert wire(receipt, 400.0, duplicate=True) == {**first, "duplicate": True}


def test_known_to_the_mailbox():
    """A message that the mailbox knew from before a restart is marked in its first receipt."""
    receipt = Receipt(A, "m1", 1, now=10.0)
    receipt.duplicate = True
    receipt.enqueued(B)
    assert wire(receipt)["duplicate"] is True


@pytest.mark.parametrize("code", ["TARGET_OFFLINE", "UNAUTHORIZED", "INTERNAL_ERROR"])
def test_failed_as_a_whole(code):
    """Where all targets failed for one of these reasons, the request is answered with an error."""
    receipt = Receipt(A, "m1", 2, now=0.0)
    receipt.failed(B, code)
    receipt.failed(C, code)
    answer = wire(receipt)
    assert answer.pop("message")
    assert answer == {"type": "peer", "status": "error", "code": code, "id": "m1"}
    assert not receipt.worth_remembering


def test_no_id_in_an_error_without_one():
    """An error has an id only if the request had."""
    receipt = Receipt(A, None, 1, now=0.0)
    receipt.failed(B, "TARGET_OFFLINE")
    assert "id" not in wire(receipt)


@pytest.mark.parametrize("codes", [("TARGET_OFFLINE", "UNAUTHORIZED"), ("MAILBOX_FULL",), ("INVALID_TARGET",)])
def test_failed_in_detail(codes):
    """Different reasons, or one that is a target's own, are told by target."""
    receipt = Receipt(A, "m1", len(codes), now=0.0)
    for target, code in zip((B, C), codes, strict=False):
        receipt.failed(target, code)
    answer = wire(receipt)
    assert answer["status"] == "done"
    assert list(answer["reasons"].values()) == list(codes)


def test_worth_remembering():
    """A receipt is remembered unless all targets failed, so that a repeat can be a new attempt."""
    receipt = Receipt(A, "m1", 2, now=0.0)
    receipt.failed(B, "MAILBOX_FULL")
    assert receipt.worth_remembering
    receipt.failed(C, "MAILBOX_FULL")
    assert not receipt.worth_remembering


@pytest.mark.parametrize("outcome", ["delivered", "enqueued", "failed", "mixed"])
@pytest.mark.parametrize("name", ["{:02x}:bb:cc:dd:ee:ff", "{:064}", "{:04}" + "字" * 60, "{:04}" + '"' * 60])
def test_a_receipt_fits_a_device(outcome, name):
    """However many devices a broadcast reached, its receipt fits a frame; the summary has all of them."""
    receipt = Receipt(A, "m" * 128, 1000, now=0.0)
    for number in range(1000):
        target = DeviceId(name.format(number))
        kind = ("delivered", "enqueued", "failed")[number % 3] if outcome == "mixed" else outcome
        if kind == "delivered":
            receipt.delivered(target, acknowledged=True)
        elif kind == "enqueued":
            receipt.enqueued(target)
        else:
            receipt.failed(target, "MAILBOX_FULL")
    assert len(encode(receipt.message(1.0))) <= DOWNLINK_BYTES
    answer = wire(receipt)
    assert answer["targetsCount"] == 1000
    if outcome == "mixed":
        assert answer["summary"] == "334 delivered, 333 enqueued, 333 failed"
        assert set(answer["reasons"]) == set(answer["failed"])
    else:
        assert answer["summary"] == f"1000 {outcome}"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["delivered", "written", "enqueued", "MAILBOX_FULL", "UNAUTHORIZED"]), max_size=10))
def test_every_target_once(outcomes):
    """Up to ten targets, each is in exactly one list, or in an error for all of them."""
    assert len(outcomes) <= PEER_TARGETS
    receipt = Receipt(A, "m1", len(outcomes), now=0.0)
    for number, outcome in enumerate(outcomes):
        assert not receipt.complete
        target = DeviceId("字" * 60 + f"{number:04}")
        if outcome in ("delivered", "written"):
            receipt.delivered(target, acknowledged=outcome == "delivered")
        elif outcome == "enqueued":
            receipt.enqueued(target)
        else:
            receipt.failed(target, outcome)
    assert receipt.complete
    answer = wire(receipt)
    if answer["status"] == "error":
        assert set(outcomes) == {"UNAUTHORIZED"}
    else:
        listed = answer["delivered"] + answer["enqueued"] + answer["failed"]
        assert len(set(listed)) == len(listed) == len(outcomes) == answer["targetsCount"]
