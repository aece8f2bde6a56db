"""Which devices said last that they acknowledge, which they are believed to do until they say otherwise; pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from gateway.identity import DeviceId
from gateway.protocol import limits


class Acknowledgers:
    """Devices that said ``peer_ack`` in their last hello.

    Before its hello nothing else tells such a device from one that never acknowledges, and the kernel's word, that
    bytes were taken, is no proof for it: something on the way may take them, a proxy that is stuck.

    Past the limit the one that was heard of longest ago is forgotten; 200 bytes each.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[DeviceId, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, device: DeviceId) -> bool:
        return device in self._known

    def __iter__(self) -> Iterator[DeviceId]:
        """Those that are known, the one that was heard of last at the end."""
        return iter(self._known)

    def recall(self, devices: Iterable[DeviceId]) -> None:
        """Take over what an earlier life of the gateway knew."""
        for device in devices:
            self.note(device, acknowledges=True)

    def note(self, device: DeviceId, *, acknowledges: bool) -> bool:
        """Note what a device has said; return whether that is news."""
        was_known = device in self._known
        self._known.pop(device, None)
        if acknowledges:
            self._known[device] = None
            if len(self._known) > limits.KNOWN_ACKNOWLEDGERS:
                self._known.popitem(last=False)
        return was_known is not acknowledges
