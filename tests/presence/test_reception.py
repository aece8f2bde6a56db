"""Tests of the reception: who may come in, who is in, who has left."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.app import Gateway
from gateway.config import AuthConfig, Config, HandoverConfig, HandshakeConfig, ServerConfig, StatsConfig
from gateway.device.session import Session
from gateway.feature import Feature, Handler
from gateway.identity import DeviceId
from gateway.observe.events import (
    ConnectionClosed,
    DeviceFlapping,
    DeviceOffline,
    DeviceOnline,
    HandoverBegan,
    HandshakeRefused,
)
from gateway.protocol.tokens import mint
from tests.raw_peer import CLOSE, frame
from tests.simulated import IN_MEMORY, House, Peer, now, simulated, turns
from tests.virtual_time import EPOCH, virtual_time

AA = DeviceId("aa")
KEY = "a secret of sixteen and more"


class Follower(Feature):
    """A feature that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.hellos: list[dict[str, Any]] = []

    def on_online(self, session: Session) -> None:
        """Note it."""
        self.told.append("online")

    def on_hello(self, session: Session) -> None:
        """Note it, and what the device said it can do."""
        self.told.append("hello")
        self.hellos.append(session.hello.features)

    def on_replaced(self, session: Session) -> None:
        """Note it."""
        self.told.append("replaced")

    def on_offline(self, session: Session) -> None:
        """Note it."""
        self.told.append("offline")


def settings(**sections: Any) -> Config:
    """Settings without a disk."""
    return Config(mailbox=IN_MEMORY, **sections)


def owner(house: House, device: str = "aa") -> Session:
    """The session of a device that is present."""
    session = house.gateway.registry.get(DeviceId(device))
    assert session is not None
    return session


async def is_untouched(house: House, present: Peer) -> None:
    """Check that a device still has its route, has heard nothing of a handover, and is answered."""
    before = len(present.messages)
    present.say({"type": "ping", "id": before})
    await turns()

    assert present.messages[before:] == [{"type": "pong", "id": before}]
    assert "system" not in {message["type"] for message in present.messages}
    assert present.gone_at is None
    assert house.records.of(HandoverBegan) == []
    assert [one.replaced for one in house.records.of(DeviceOnline)] == [False]


# --- coming alive -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "because"),
    [
        ({"type": "hello"}, "hello"),
        ({"type": "ping"}, "frame"),
        ({"type": "mode", "state": "start", "mode": "coding"}, "frame"),
    ],
)
def test_alive_by_a_frame(said: dict[str, Any], because: str):
    """The first valid message makes a connection count as alive, at once."""

    @virtual_time
    async def alive() -> None:
        async with simulated() as house:
            peer = house.connect("aa")
            assert house.gateway.registry.get(AA) is None
            peer.say(said)

            assert owner(house).device == "aa"
            assert [one.because for one in house.records.of(DeviceOnline)] == [because]

    alive()


@virtual_time
async def test_alive_by_being_open():
    """A connection that says nothing counts as alive after 0.5 s, and not before."""
    async with simulated() as house:
        house.connect("aa")
        await asyncio.sleep(0.49)
        assert house.gateway.registry.get(AA) is None
        await asyncio.sleep(0.02)

        assert owner(house).device == "aa"
        assert [one.because for one in house.records.of(DeviceOnline)] == ["open"]


@pytest.mark.parametrize("said", ["not json", {"type": 3}, [1]])
def test_a_bad_frame_is_no_sign_of_life(said: Any):
    """A message that is no message does not give a connection the route before its time."""

    @virtual_time
    async def bad() -> None:
        async with simulated() as house:
            peer = house.connect("aa")
            peer.say(said)
            await turns()

            assert [message["type"] for message in peer.messages] == ["error"]
            assert house.gateway.registry.get(AA) is None

    bad()


@virtual_time
async def test_alive_once():
    """A connection comes alive once, whatever it says afterwards, and whatever the time."""
    async with simulated() as house:
        peer = await house.device("aa")
        peer.say({"type": "hello"})
        peer.say({"type": "ping"})
        await asyncio.sleep(1)

        assert len(house.records.of(DeviceOnline)) == 1
        assert len(peer.of("hello")) == 2
        assert peer.of("hello")[0]["session_id"] == peer.of("hello")[1]["session_id"]


# --- what never disturbs ------------------------------------------------------------------------------------------


@virtual_time
async def test_cut_before_it_is_alive():
    """A connection that ends before it counts as alive does not disturb the one that is there."""
    async with simulated() as house:
        present = await house.device("aa")
        new = house.connect("aa")
        await asyncio.sleep(0.4)
        new.cut()
        await asyncio.sleep(2)

        await is_untouched(house, present)


@virtual_time
async def test_closing_before_it_is_alive():
    """A connection that is being closed as its half second ends does not count as alive, though its socket is there."""
    async with simulated() as house:
        present = await house.device("aa")
        new = house.connect("aa", ends=False)
        await asyncio.sleep(0.2)
        new.send(frame(CLOSE, b"\x03\xe8"))
        await asyncio.sleep(0.4)
        assert new.gone_at is None
        await asyncio.sleep(2)

        await is_untouched(house, present)


@virtual_time
async def test_failing_before_it_is_alive():
    """A connection that breaks the protocol before it is alive does not disturb the one that is there."""
    async with simulated() as house:
        present = await house.device("aa")
        new = house.connect("aa", ends=False)
        new.say(b'{"type":"\xff"}')
        await asyncio.sleep(3)

        assert new.close_code == 1007
        await is_untouched(house, present)


@virtual_time
async def test_refused():
    """A connection whose token is bad does not disturb the one that is there, nor does one without any."""
    auth = AuthConfig(enabled=True, key=KEY)
    token = mint(KEY, "c", AA, EPOCH)
    async with simulated(settings(auth=auth)) as house:
        present = await house.device("aa", Client_Id="c", Authorization=f"Bearer {token}")
        bad = house.connect("aa", Client_Id="c", Authorization=f"Bearer {token[:-1]}")
        none = house.connect("aa", Client_Id="c")
        await asyncio.sleep(2)

        assert (bad.status, none.status) == (b"401", b"401")
        assert [one.status for one in house.records.of(HandshakeRefused)] == [401, 401]
        await is_untouched(house, present)


@virtual_time
async def test_a_refusal_names_who_was_refused():
    """By the id that the request gave, whatever else is wrong with it; by none where it gave none, or a bad one."""
    auth = AuthConfig(enabled=True, key=KEY, allowed_devices=["aa"])
    async with simulated(settings(auth=auth)) as house:
        for given in (
            {"device": "AA"},
            {"device": "bb", "Authorization": "x"},
            {},
            {"device": "aa", "X_Device_Id": "bb"},
        ):
            await house.ask(**given)

        refused = house.records.of(HandshakeRefused)
        assert [(one.device, one.status) for one in refused] == [("aa", 401), ("bb", 401), ("", 401), ("", 400)]


@virtual_time
async def test_a_refusal_of_another_client_names_the_device():
    """Who may not take over is named, too."""
    async with simulated(settings(auth=AuthConfig(takeover="same_client"))) as house:
        await house.device("aa", Client_Id="c")
        await house.ask("aa", Client_Id="d")

        assert [(one.device, one.status) for one in house.records.of(HandshakeRefused)] == [("aa", 403)]


# --- the order of arrival -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [{"type": "hello"}, {"type": "ping"}, None])
def test_the_later_accepted_owns_the_route(said: Any):
    """Of two that are upgraded, the second has the route once it is alive, whatever the first one says, or does not."""

    @virtual_time
    async def later() -> None:
        async with simulated() as house:
            first = house.connect("aa")
            await asyncio.sleep(0.1)
            second = await house.device("aa")
            if said is not None:
                first.say(said)
            assert await first.gone() <= 0.1 + 0.3 + 1e-6
            await asyncio.sleep(1)

            assert (first.close_code, first.messages) == (4001, [])
            await is_untouched(house, second)

    later()


@virtual_time
async def test_a_silent_one_between_two_that_speak():
    """A silent connection that was overtaken takes no route from the one that overtook it; only the owner is told."""
    async with simulated() as house:
        first = await house.device("aa")
        silent = house.connect("aa")
        third = await house.device("aa")
        await silent.gone()
        await first.gone()

        assert (silent.close_code, silent.messages) == (4001, [])
        assert [message["type"] for message in first.messages] == ["hello", "system"]
        assert [one.replaced for one in house.records.of(DeviceOnline)] == [False, True]
        assert third.gone_at is None
        assert house.gateway._admission.connections == 1


@virtual_time
async def test_one_that_comes_after_the_owner_may_take_over():
    """A silent connection that was accepted after the one that speaks has the route after its half second."""
    async with simulated() as house:
        first = house.connect("aa")
        second = house.connect("aa")
        first.say({"type": "hello"})
        await asyncio.sleep(0.6)

        assert [message["type"] for message in first.messages] == ["hello", "system"]
        assert [one.because for one in house.records.of(DeviceOnline)] == ["hello", "open"]
        assert second.gone_at is None


@pytest.mark.parametrize("how", ["at once", "silent before"])
def test_resumed(how: str):
    """The hello answer says that the device was connected, however close its connections follow each other."""

    @virtual_time
    async def resumed() -> None:
        async with simulated() as house:
            first = await house.device("aa")
            second = house.connect("aa")
            if how == "silent before":
                await asyncio.sleep(0.6)
            second.say({"type": "hello"})
            await turns()

            assert [peer.of("hello")[0]["gateway"]["resumed"] for peer in (first, second)] == [False, True]

    resumed()


@virtual_time
async def test_the_end_of_a_replaced_one():
    """When the replaced connection ends, be it before or after the window, the device stays present."""
    for wait in (0.5, 3.0):
        async with simulated() as house:
            old = await house.device("aa")
            new = await house.device("aa")
            await asyncio.sleep(wait)
            old.cut()
            await turns()

            assert owner(house).channel.connection.is_open
            assert house.records.of(DeviceOffline) == []
            new.cut()
            await turns()

            assert house.gateway.registry.get(AA) is None
            assert len(house.records.of(DeviceOffline)) == 1


@virtual_time
async def test_device_count_is_never_two():
    """Through a handover, what stats tell and what the gauges say is one device."""
    async with simulated(settings(stats=StatsConfig(audience="all", every=0.25))) as house:
        watcher = await house.device("ww")
        await house.device("aa")
        await asyncio.sleep(1)
        await house.device("aa")
        await asyncio.sleep(3)

        counts = [message["deviceCount"] for message in watcher.of("server")]
        assert len(counts) >= 10
        assert set(counts) == {2}
        assert all(message["online"] == ["ww", "aa"] for message in watcher.of("server"))
        assert "wsdevice_devices 2" in house.gateway.metrics.render()


# --- what features are told ---------------------------------------------------------------------------------------


@virtual_time
async def test_what_features_are_told():
    """In this order: online, each hello, each replacement, and offline once the last connection is gone."""
    follower = Follower()
    async with simulated(features=[follower]) as house:
        await house.device("aa", features={"one": True})
        await house.device("aa", features={"two": True})
        await asyncio.sleep(3)
        assert follower.told == ["online", "hello", "replaced", "hello"]
        assert follower.hellos == [{"one": True}, {"two": True}]

    assert follower.told[-1] == "offline"
    assert follower.told.count("offline") == 1


@virtual_time
async def test_the_hello_answer_comes_first():
    """What features send when they hear of a device comes behind the answer to its hello, also on a replacement."""

    class Greeter(Feature):
        def on_online(self, session: Session) -> None:
            session.send_json({"type": "custom", "payload": {"welcome": True}})

        def on_replaced(self, session: Session) -> None:
            session.send_json({"type": "custom", "payload": {"welcome": "back"}})

    async with simulated(features=[Greeter()]) as house:
        old = await house.device("aa")
        new = await house.device("aa")
        await turns()

        assert [message["type"] for message in old.messages] == ["hello", "custom", "system"]
        assert [message["type"] for message in new.messages] == ["hello", "custom"]
        assert new.messages[1]["payload"] == {"welcome": "back"}


@virtual_time
async def test_one_that_was_never_alive():
    """Features hear nothing of a connection that never came alive."""
    follower = Follower()
    async with simulated(features=[follower]) as house:
        house.connect("aa").cut()
        await asyncio.sleep(1)

        assert follower.told == []
        assert house.records.of(DeviceOffline) == []
        assert len(house.records.of(ConnectionClosed)) == 1


@virtual_time
async def test_the_tasks_of_a_session():
    """When a device goes, features hear of it first; then its tasks are cancelled, and awaited."""
    happened: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            happened.append("cancelled")
            await asyncio.sleep(1)
            happened.append("unwound")

    class Worker(Feature):
        def on_online(self, session: Session) -> None:
            session.tasks.spawn(work(), "work")

        def on_offline(self, session: Session) -> None:
            happened.append("offline")

    async with simulated(features=[Worker()]) as house:
        peer = await house.device("aa")
        peer.cut()
        await asyncio.sleep(0.1)
        assert happened == ["offline", "cancelled"]
        assert len(house.gateway._departures) == 1
        await asyncio.sleep(1)
        assert happened == ["offline", "cancelled", "unwound"]
        assert len(house.gateway._departures) == 0


@virtual_time
async def test_the_tasks_outlive_a_handover():
    """What runs for a device goes on when its connection is replaced."""

    class Worker(Feature):
        def on_online(self, session: Session) -> None:
            session.tasks.spawn(asyncio.sleep(3600), "work")

    async with simulated(features=[Worker()]) as house:
        await house.device("aa")
        await house.device("aa")
        await asyncio.sleep(3)

        assert len(owner(house).tasks) == 1


# --- who may take over --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "first", "second", "status"),
    [
        ("any", "one", "two", b"101"),
        ("any", "", "", b"101"),
        ("same_client", "one", "one", b"101"),
        ("same_client", "one", "two", b"403"),
        ("same_client", "one", "", b"403"),
        ("same_client", "", "", b"403"),
        ("token", "one", "one", b"101"),
        ("token", "one", "two", b"403"),  # no tokens are asked for, so nobody has shown one
        (None, "one", "two", b"101"),  # the default on loopback, where there are no tokens
    ],
)
def test_takeover_without_tokens(rule: Any, first: str, second: str, status: bytes):
    """Who may replace a connection is as configured; two that give no client id are not taken for the same."""

    @virtual_time
    async def takeover() -> None:
        async with simulated(settings(auth=AuthConfig(takeover=rule))) as house:
            present = await house.device("aa", **({"Client_Id": first} if first else {}))
            other = await house.ask("aa", **({"Client_Id": second} if second else {}))
            assert other.status == status
            if status == b"403":
                await asyncio.sleep(1)
                await is_untouched(house, present)

    takeover()


@pytest.mark.parametrize(("rule", "status"), [("token", b"101"), (None, b"101"), ("same_client", b"403")])
def test_takeover_with_tokens(rule: Any, status: bytes):
    """Another client with a valid token of its own may take over, unless only the same one may."""

    @virtual_time
    async def takeover() -> None:
        auth = AuthConfig(enabled=True, key=KEY, takeover=rule)
        async with simulated(settings(auth=auth)) as house:
            await house.device("aa", Client_Id="one", Authorization=f"Bearer {mint(KEY, 'one', AA, EPOCH)}")
            other = await house.ask("aa", Client_Id="two", Authorization=f"Bearer {mint(KEY, 'two', AA, EPOCH)}")
            assert other.status == status

    takeover()


@virtual_time
async def test_takeover_of_one_that_is_coming():
    """The rule holds between two that come at the same time: neither is alive yet when the second asks."""
    async with simulated(settings(auth=AuthConfig(takeover="same_client"))) as house:
        first = await house.ask("aa", Client_Id="one")
        second = await house.ask("aa", Client_Id="two")
        again = await house.ask("aa", Client_Id="one")

        assert (first.status, second.status, again.status) == (b"101", b"403", b"101")

        first.cut()
        again.cut()
        await turns()
        third = await house.ask("aa", Client_Id="two")

        assert third.status == b"101"
        assert [list(coming) for coming in reception(house)._coming.values()] == [[third._protocol._receiver]]


@virtual_time
async def test_takeover_of_one_that_has_gone():
    """Once the device is offline, any client may connect as it."""
    async with simulated(settings(auth=AuthConfig(takeover="same_client"))) as house:
        present = await house.device("aa", Client_Id="one")
        present.cut()
        await turns()

        assert (await house.ask("aa", Client_Id="two")).status == b"101"


def reception(house: House) -> Any:
    """The reception behind a gateway."""
    return house.gateway._board.reception


# --- flapping, room, going down -----------------------------------------------------------------------------------


@virtual_time
async def test_flapping():
    """Past five replacements in a minute a device is refused for 5 s, with one record; the one that is there stays."""
    async with simulated() as house:
        for _ in range(7):
            last = await house.device("aa")
            await asyncio.sleep(2)
        refused = await house.ask("aa")
        other = await house.ask("bb")

        assert refused.status == b"429"
        assert other.status == b"101"
        flapping = house.records.of(DeviceFlapping)
        assert [(one.device, one.replacements, one.refused_seconds) for one in flapping] == [("aa", 6, 5.0)]
        assert last.gone_at is None
        await asyncio.sleep(3.1)
        assert (await house.ask("aa")).status == b"101"


@virtual_time
async def test_flapping_as_configured():
    """How many replacements are normal is configured."""
    config = settings(handover=HandoverConfig(replacements=1, refusal=10))
    async with simulated(config) as house:
        for _ in range(3):
            await house.device("aa")
            await asyncio.sleep(2)

        assert (await house.ask("aa")).status == b"429"


@virtual_time
async def test_room():
    """A full gateway refuses with 503; connections that never came alive count while they are there, and no longer."""
    async with simulated(settings(server=ServerConfig(max_connections=2))) as house:
        one, two = await house.ask("aa"), await house.ask("bb")
        assert (await house.ask("cc")).status == b"503"
        assert "wsdevice_connections 2" in house.gateway.metrics.render()
        one.cut()
        await turns()
        three = await house.ask("cc")
        assert three.status == b"101"
        for peer in (two, three):
            peer.cut()
        await turns()

        assert house.gateway._admission.connections == 0


@virtual_time
async def test_draining():
    """A gateway that goes down refuses with 503, also a device that is present and would replace itself."""
    async with simulated() as house:
        present = await house.device("aa")
        house.gateway._admission.draining = True

        assert (await house.ask("aa")).status == b"503"
        await asyncio.sleep(1)
        await is_untouched(house, present)


@virtual_time
async def test_upgraded_before_the_drain():
    """A connection that was upgraded before still comes alive and takes the route: the device has nothing else."""
    async with simulated() as house:
        new = house.connect("aa")
        house.gateway._admission.draining = True
        new.say({"type": "hello"})
        await turns()

        assert new.of("hello")
        assert owner(house).device == "aa"


@virtual_time
async def test_handshakes_of_one_address():
    """An address that asks too often is refused with 429."""
    async with simulated(settings(handshake=HandshakeConfig(per_address_per_minute=2))) as house:
        assert [(await house.ask(name)).status for name in ("aa", "bb", "cc")] == [b"101", b"101", b"429"]


@virtual_time
async def test_a_decision_that_breaks():
    """When a decision fails for a reason of ours, that one is refused with 500, and nothing is counted for it."""
    async with simulated() as house:
        reception(house)._terms = None
        assert (await house.ask("aa")).status == b"500"
        await asyncio.sleep(6)

        assert house.gateway._admission.connections == 0
        assert reception(house)._coming == {}


@virtual_time
async def test_hello_features_of_the_present_connection():
    """What a device offers is what its present connection said; until that says something, what its last one said."""
    async with simulated() as house:
        await house.device("aa", features={"peer_ack": True})
        assert owner(house).offers("peer_ack")
        newer = house.connect("aa")
        await asyncio.sleep(0.6)
        assert owner(house).offers("peer_ack")
        newer.say({"type": "hello", "features": {}})
        await turns()

        assert not owner(house).offers("peer_ack")


@virtual_time
@pytest.mark.parametrize("away", [True, False], ids=["mail that waited", "a message that was not acknowledged"])
async def test_a_connection_that_dies_before_its_hello_loses_no_message(away: bool):
    """A device that acknowledges is not taken for one that does not, as long as it has not said hello again."""
    async with simulated() as house:
        sender = await house.device("bb", features={"peer_ack": True})
        if away:
            sender.say({"type": "peer", "to": "aa", "payload": {}, "id": "m1"})
        else:
            await house.device("aa", features={"peer_ack": True})
            sender.say({"type": "peer", "to": "aa", "payload": {}, "id": "m1"})
        await asyncio.sleep(1)
        silent = house.connect("aa")
        await asyncio.sleep(2)
        silent.cut()
        await asyncio.sleep(5)
        again = await house.device("aa", features={"peer_ack": True})
        await asyncio.sleep(1)

        assert [message["id"] for message in again.of("peer")] == ["m1"]
        assert [message for message in sender.of("peer") if message.get("event") == "redelivered"] == []


@virtual_time
async def test_a_handler_is_called_between_online_and_offline():
    """A message that makes its connection alive finds the features told already."""

    class Lamp(msgspec.Struct, tag="lamp"):
        on: bool = True

    follower = Follower()

    def switch(session: Session, lamp: Lamp) -> None:
        follower.told.append("lamp")

    async with simulated(features=[follower], handlers=[Handler(Lamp, switch)]) as house:
        house.connect("aa").say({"type": "lamp"})
        await turns()

    assert follower.told == ["online", "lamp", "offline"]


@virtual_time
async def test_a_frame_of_the_past():
    """An acknowledgement on a replaced connection whose device has gone meanwhile harms nobody."""
    async with simulated() as house:
        old = await house.device("aa", features={"peer_ack": True})
        new = await house.device("aa")
        new.cut()
        await turns()
        old.say({"type": "peer", "event": "ack", "id": "x"})
        await turns()
        assert old.gone_at is None
        await old.gone()

        assert now() == pytest.approx(1.8)
        assert isinstance(house.gateway, Gateway)
