"""What schedules of faults have found in the gateway: each as the small scenario that it comes down to."""

from __future__ import annotations

import pytest

from gateway.observe.events import PeerDelivered
from harness.errors import CannotConnect
from harness.faults.vocabulary import Heal, Timeout
from pytest_wsdevice.types import Devices, Faults, Timeline


@pytest.mark.ws_seeds(5)
async def test_a_black_hole_does_not_take_the_mail_of_a_device_that_acknowledges(
    ws_devices: Devices, ws_faults: Faults, ws_timeline: Timeline
):
    """Something on the way takes what the gateway sends, the 101 included; the mail waits for the device itself.

    Found by ``everything_at_once`` with the seeds 1055, 1057, 1066 and more: after 2.5 s without a hello the gateway
    took the kernel's word for that of a device that had acknowledged in its last session.
    """
    kitchen, hall = await ws_devices("kitchen"), await ws_devices("hall")
    hall.cut()
    await hall.expect_close()
    await kitchen.send({"type": "peer", "to": [hall.device_id], "payload": {"text": "dinner"}, "id": "m-1"})
    await kitchen.expect("peer", enqueued=[hall.device_id])

    await ws_faults.do(Timeout(direction="to_device", on="hall"))
    with pytest.raises(CannotConnect):
        await hall.connect(8)
    await ws_faults.do(Heal())
    assert ws_timeline.events(PeerDelivered) == []
    await hall.go_online()

    assert (await hall.expect("peer"))["payload"] == {"text": "dinner"}
    await kitchen.expect("peer", event="redelivered", count=1)
