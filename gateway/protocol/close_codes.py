"""Every close code the gateway sends, what it means to the device, and whether to come back at once."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Close codes of RFC 6455 7.4.1 that the gateway uses, and its own in the private range 4000 to 4999."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006  # never sent; what a socket lost without Close is called
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    REPLACED = 4001
    HELLO_TIMEOUT = 4002
    IDLE = 4003
    FLOOD = 4008
    MAILBOX_KICK = 4010

    @property
    def meaning(self) -> str:
        """One sentence for the device's developer."""
        return _MEANING[self][0]

    @property
    def retry(self) -> bool:
        """Whether the device may reconnect at once; where not, it should wait for its user or a longer back-off."""
        return _MEANING[self][1]


_MEANING: dict[CloseCode, tuple[str, bool]] = {
    CloseCode.NORMAL: ("the conversation ended", True),
    CloseCode.GOING_AWAY: ("the gateway is going down for good", True),
    CloseCode.PROTOCOL_ERROR: ("a frame broke RFC 6455", True),
    CloseCode.UNSUPPORTED_DATA: ("too many binary frames that do not follow the connection's framing", True),
    CloseCode.ABNORMAL: ("the connection was lost without a Close frame", True),
    CloseCode.INVALID_DATA: ("a text message was not UTF-8", True),
    CloseCode.POLICY: ("too many errors in a short time, or a message in pieces that did not end in time", False),
    CloseCode.TOO_BIG: ("a message was over the size limit", True),
    CloseCode.INTERNAL_ERROR: ("the gateway failed; the cause is in its log", True),
    CloseCode.SERVICE_RESTART: ("the gateway restarts; come back when you need it", True),
    CloseCode.REPLACED: ("a newer connection of the same device took over", False),
    CloseCode.HELLO_TIMEOUT: ("an unnamed client said nothing after the handshake", True),
    CloseCode.IDLE: ("nothing was received for too long", True),
    CloseCode.FLOOD: ("the peer sends too much, or does not read what it is sent", False),
    CloseCode.MAILBOX_KICK: ("an operator emptied the device's mailbox", True),
}
