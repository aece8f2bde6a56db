"""Tests of features and handlers."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest

from gateway.feature import Feature, Handler


class Lamp(msgspec.Struct, tag="lamp"):
    """As it should be."""


class TaggedByField(msgspec.Struct, tag="lamp", tag_field="kind"):
    """Its tag is in another field than the wire's."""


class TaggedByNumber(msgspec.Struct, tag=7):
    """The wire's type is a string."""


class Untagged(msgspec.Struct):
    """Says nothing of its type."""


class Explicit(msgspec.Struct, tag="lamp", tag_field="type"):
    """Says what is the default."""


def plain(session: Any, message: Any) -> None:
    """Handle at once."""


async def waiting(session: Any, message: Any) -> None:
    """Handle as a task."""


class Switch:
    """Handlers as methods."""

    def plain(self, session: Any, message: Any) -> None:
        """Handle at once."""

    async def waiting(self, session: Any, message: Any) -> None:
        """Handle as a task."""


class PlainObject:
    """An object that is called."""

    def __call__(self, session: Any, message: Any) -> None:
        """Handle at once."""


class WaitingObject:
    """An object that is called and awaited."""

    async def __call__(self, session: Any, message: Any) -> None:
        """Handle as a task."""


@pytest.mark.parametrize("message", [Lamp, Explicit])
def test_type_is_the_tag(message: Any):
    """A handler is for the type that is the struct's tag."""
    handler = Handler(message, plain)

    assert handler.type == "lamp"
    assert handler.message is message
    assert handler.handle is plain


@pytest.mark.parametrize("message", [TaggedByField, TaggedByNumber, Untagged])
def test_a_struct_without_a_type(message: Any):
    """A struct that does not say its type as the wire does is refused at once, with what it should look like."""
    with pytest.raises(TypeError, match=rf"class {message.__name__}\(Struct, tag='lamp'\)"):
        Handler(message, plain)


@pytest.mark.parametrize(
    ("handle", "waits"),
    [
        (plain, False),
        (waiting, True),
        (Switch().plain, False),
        (Switch().waiting, True),
        (functools.partial(plain), False),
        (functools.partial(waiting), True),
        (PlainObject(), False),
        (WaitingObject(), True),
    ],
    ids=["plain", "waiting", "method", "waiting method", "partial", "waiting partial", "object", "waiting object"],
)
def test_which_run_as_tasks(handle: Any, waits: bool):
    """Coroutine functions are told from plain ones, in whatever form they come."""
    assert Handler(Lamp, handle).waits is waits


async def test_a_feature_does_nothing_by_itself():
    """Every method of a feature may be left as it is."""
    feature, session = Feature(), Any

    assert tuple(feature.handlers()) == ()
    for hook in (feature.on_online, feature.on_hello, feature.on_replaced, feature.on_offline):
        assert hook(session) is None
    assert feature.is_busy(session) is False
    await feature.start()
    await feature.stop()
