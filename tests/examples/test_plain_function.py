"""The same fixtures in a plain function: calls wait for their end, and the gateway serves meanwhile."""

from gateway.observe.events import DeviceOnline


def test_device_that_is_reset(ws_device, ws_timeline):
    """A reset opens a new connection; the gateway hands the route over, and the session goes on."""
    before = ws_device.link

    ws_device.reset()

    assert ws_device.link.session == before.session
    assert ws_device.link.arrivals == 2
    assert ws_timeline.events(DeviceOnline, replaced=True)
