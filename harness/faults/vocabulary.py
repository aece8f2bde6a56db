"""The faults there are, as records: what goes wrong, how much, which way, and for whom.

A record says nothing of how it is done: that is the business of a ground (`harness.faults.ground`). Names are
Toxiproxy's where they mean the same. ``docs/faults.md`` has a table of them, which is made from the descriptions below.
"""

from __future__ import annotations

import re
from functools import cache
from math import inf, isfinite
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, get_args

import msgspec
from msgspec import Meta

from gateway.identity import printable
from harness.faults.errors import BadFault
from harness.faults.passing import DIRECTIONS, Direction

Both: TypeAlias = Literal["both", "to_gateway", "to_device"]
"""Which way a fault goes."""
GATEWAY = "gateway"
"""Whom a fault is on, where that is the gateway's machine and no device."""

_Seconds = Annotated[float, Meta(ge=0, description="seconds")]
_Way = Annotated[Both, Meta(description="which way")]


def _named(kind: str) -> str:
    """``SlowClose`` -> ``slow_close``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="fault", tag=_named, omit_defaults=True):
    """Root of all faults.

    Attributes:
        on: the name of a device; empty: all devices, those to come included; `GATEWAY`, of what happens to machines.

    Raises:
        BadFault: a value is out of its range.
    """

    lasts: ClassVar[bool] = False
    """Whether it is in force until `Heal`, also for connections to come; else it happens, and that is all."""
    of_machines: ClassVar[bool] = False
    """Whether it can be on `GATEWAY`, too."""
    of_gateway: ClassVar[bool] = False
    """Whether it is always on the gateway, whatever ``on`` says."""
    on: Annotated[str, Meta(description="whom: a device; empty: all")] = ""

    def __post_init__(self) -> None:
        for name, lowest, highest, words in _ranges(type(self)):
            value = getattr(self, name)
            if words and value not in words:
                raise BadFault(f"expected {name} of {self.name} to be one of {', '.join(words)}, got {value!r}")
            if not words and not (lowest <= value <= highest and isfinite(value)):
                room = f"at least {lowest:g}" if highest == inf else f"from {lowest:g} to {highest:g}"
                raise BadFault(f"expected {name} of {self.name} to be {room}, got {value!r}")

    @property
    def name(self) -> str:
        """Its name in the vocabulary."""
        return name_of(type(self))

    @property
    def ways(self) -> tuple[Direction, ...]:
        """The directions it is about."""
        asked: Both = getattr(self, "direction", "both")
        return DIRECTIONS if asked == "both" else (asked,)

    def of(self, device: str) -> Self:
        """Return the same fault, on this device."""
        return msgspec.structs.replace(self, on=device)

    def __str__(self) -> str:
        values = [(field, getattr(self, field.name)) for field in msgspec.structs.fields(self) if field.name != "on"]
        said = [f"{field.name}={_in_short(value)}" for field, value in values if value != field.default]
        whom = [] if self.of_gateway else [f"on {printable(self.on, 40) or 'all devices'}"]
        return " ".join([self.name, *said, *whom])


class Lasting(Fault, frozen=True, kw_only=True, tag=_named):
    """Root of those that are in force until `Heal`, or until the same one comes with other values."""

    lasts: ClassVar[bool] = True


# --- connections end --------------------------------------------------------------------------------------------


class Cut(Fault, frozen=True):
    """Open connections end: FIN at both ends, behind what has arrived."""


class ResetPeer(Fault, frozen=True):
    """Open connections are reset: RST at both ends."""

    seconds: Annotated[float, Meta(ge=0, description="seconds from now")] = 0.0


class HalfOpen(Fault, frozen=True):
    """Nothing gets through on open connections any more, for good, and neither end is told; new ones are fine.

    As after a middlebox has forgotten them: not even acknowledgements get through.
    """


# --- how bytes travel -------------------------------------------------------------------------------------------


class Latency(Lasting, frozen=True):
    """Everything takes longer."""

    seconds: Annotated[float, Meta(ge=0, description="seconds, each way that is asked for")]
    jitter: Annotated[float, Meta(ge=0, description="seconds that each piece may take longer still; order is kept")] = (
        0.0
    )
    direction: _Way = "both"


class Bandwidth(Lasting, frozen=True):
    """So many bytes a second get through, each way."""

    bytes_per_second: Annotated[float, Meta(ge=1, description="bytes a second")]
    direction: _Way = "both"


class Slicer(Lasting, frozen=True):
    """Bytes come in small pieces."""

    average_bytes: Annotated[int, Meta(ge=1, description="bytes of a piece")]
    variation_bytes: Annotated[int, Meta(ge=0, description="bytes by which a piece differs from that, at most")] = 0
    seconds: Annotated[float, Meta(ge=0, description="seconds between two pieces")] = 0.0
    direction: _Way = "both"


class Loss(Lasting, frozen=True):
    """Segments are lost, and TCP sends them anew."""

    chance: Annotated[float, Meta(ge=0, le=0.9, description="of a segment to be lost")]
    direction: _Way = "both"


class LimitData(Lasting, frozen=True):
    """A connection ends, as with `Cut`, once so many bytes have got through on it."""

    bytes: Annotated[int, Meta(ge=1, description="bytes, counted from now; on new connections from their beginning")]
    direction: _Way = "both"


class Timeout(Lasting, frozen=True):
    """What is sent is acknowledged and goes nowhere, on new connections too; they end as with `Cut`, or with `Heal`."""

    seconds: Annotated[
        float, Meta(ge=0, description="seconds to the end, for each connection; 0: not before `Heal`")
    ] = 0.0
    direction: _Way = "both"


class SlowClose(Lasting, frozen=True):
    """The end of a stream (FIN) comes later than what was sent before it."""

    seconds: Annotated[float, Meta(ge=0, description="seconds later")]
    direction: _Way = "both"


class Partition(Lasting, frozen=True):
    """Nothing gets through; after `Heal`, connections that are still there go on with their next retransmission.

    One way only, the acknowledgements of the other way are lost: what is sent there arrives once, and then no more.
    """

    direction: _Way = "both"


class Heal(Fault, frozen=True):
    """What lasts ends; connections that `HalfOpen` has hit stay dead, those that `Timeout` has silenced end."""

    what: Annotated[str, Meta(description="the name of one fault; empty: all that last")] = ""


# --- machines ---------------------------------------------------------------------------------------------------


class WifiOff(Fault, frozen=True):
    """A device loses its Wi-Fi: nothing gets through, connecting fails at once."""


class WifiOn(Fault, frozen=True):
    """A device has its Wi-Fi back."""

    new_address: Annotated[bool, Meta(description="with another address: what was open is dead from both sides")] = (
        False
    )


class PowerCut(Fault, frozen=True):
    """A machine loses its power: it falls silent, and only its disk, or NVS, is left."""

    of_machines: ClassVar[bool] = True


class PowerOn(Fault, frozen=True):
    """A machine has its power back; what comes for its old connections is answered with RST.

    A device connects when it is told to. The gateway starts with the state that was on its disk.
    """

    of_machines: ClassVar[bool] = True


class KillGateway(Fault, frozen=True):
    """The gateway's process dies as by SIGKILL: no code of it runs any more, its system closes the sockets."""

    of_gateway: ClassVar[bool] = True


class StartGateway(Fault, frozen=True):
    """The gateway starts again on its ports, with the state that the last one left; nothing, while it runs."""

    of_gateway: ClassVar[bool] = True


class ClockStep(Fault, frozen=True):
    """The wall clock of a machine jumps; loop time does not."""

    of_machines: ClassVar[bool] = True
    seconds: Annotated[float, Meta(description="seconds, backwards if negative")]


class SlowDisk(Lasting, frozen=True):
    """Work in the gateway's threads, each commit of the mailbox for one, takes so long."""

    of_gateway: ClassVar[bool] = True
    seconds: Annotated[float, Meta(ge=0, description="seconds of one call")]


AnyFault: TypeAlias = (
    Cut
    | ResetPeer
    | HalfOpen
    | Latency
    | Bandwidth
    | Slicer
    | Loss
    | LimitData
    | Timeout
    | SlowClose
    | Partition
    | Heal
    | WifiOff
    | WifiOn
    | PowerCut
    | PowerOn
    | KillGateway
    | StartGateway
    | ClockStep
    | SlowDisk
)
"""Every fault; msgspec tells them apart in JSON by their ``fault``."""

KINDS: dict[str, type[Fault]] = {_named(kind.__name__): kind for kind in get_args(AnyFault)}
"""Every fault by its name, in the order of the table."""


def _in_short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def name_of(kind: type[Fault]) -> str:
    """Return the name of a kind of fault."""
    return str(kind.__struct_config__.tag)


@cache
def _ranges(kind: type[Fault]) -> list[tuple[str, float, float, tuple[Any, ...]]]:
    """The limits of each field: lowest and highest value, or the words it may be."""
    found: list[tuple[str, float, float, tuple[Any, ...]]] = []
    for info in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        match info.type:
            case msgspec.inspect.Metadata(type=inner):
                kind_of = inner
            case inner:
                kind_of = inner
        match kind_of:
            case msgspec.inspect.LiteralType(values=values):
                found.append((info.name, 0, 0, tuple(values)))
            case msgspec.inspect.IntType(ge=ge, le=le) | msgspec.inspect.FloatType(ge=ge, le=le):
                found.append((info.name, -inf if ge is None else ge, inf if le is None else le, ()))
    return found
