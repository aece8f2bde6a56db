"""What seeds have found in the gateway, each as a small scenario."""

from __future__ import annotations

import asyncio

from tests.peer.post_office import open_office, turns
from tests.virtual_time import virtual_time


@virtual_time
async def test_report_that_was_heard_is_not_counted_again():
    """Two reports of one message each: the first is heard, and its confirmation lost; the second is lost.

    The second takes the first into itself when both are in the mailbox, under an id that the sender has not seen.
    Seeds: 457 of swizzle_clog, 469 of storms, by invariant 8.
    """
    office = await open_office()
    a, b = office.device("a", acks=False), office.device("b", acks=False, online=False)
    a.send("b", "m1")
    a.send("b", "m2")
    await turns()
    b.connect()
    await turns()
    a.wire.unsent = lambda: 1  # type: ignore[method-assign] - what comes is read, and TCP's acknowledgements are lost
    b.ack("m1")
    await asyncio.sleep(4)
    a.wire.stalled = True  # nothing comes any more
    b.ack("m2")
    await asyncio.sleep(8)
    a.disconnect()
    await turns()
    a.connect()
    await asyncio.sleep(4)

    told = {frame["id"]: frame["count"] for _, frame in a.inbox if frame.get("event") == "redelivered"}
    await office.close()
    assert sum(told.values()) == 2, told
