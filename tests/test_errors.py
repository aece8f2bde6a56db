"""Tests of `gateway.errors`."""

from __future__ import annotations

import re

import pytest

from gateway import errors
from gateway.errors import (
    BadAudioFrame,
    BadMessage,
    CannotListen,
    ConfigurationError,
    ConfigurationFault,
    GatewayError,
    HandshakeRefused,
)

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def test_tree_in_the_head_is_the_tree():
    """The picture at the head of the module has each class, under its parent."""
    path: list[str] = []
    drawn = set()
    for line in errors.__doc__.splitlines():
        if found := re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn.add((found[2], path[depth - 1] if depth else "Exception"))

    assert drawn == {(kind.__name__, kind.__bases__[0].__name__) for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_one_root(kind):
    """Whoever catches the root catches all that the gateway raises on purpose, and nothing else."""
    assert issubclass(kind, GatewayError)
    assert not issubclass(kind, (OSError, ValueError, RuntimeError))


def test_refusal_carries_the_answer():
    """Status, reason and headers are attributes; the headers are the refusal's own."""
    headers = {"Retry-After": "5"}
    refusal = HandshakeRefused(429, "too many", headers)
    headers.clear()

    assert (refusal.status, refusal.reason, refusal.headers) == (429, "too many", {"Retry-After": "5"})
    assert str(refusal) == "handshake refused with 429: too many"
    assert HandshakeRefused(401, "no token").headers == {}


def test_bad_message_carries_the_reply():
    """Code, reason and reference are attributes."""
    assert str(BadMessage("BAD_JSON", "expected an object")) == "BAD_JSON: expected an object"
    assert BadMessage("BAD_JSON", "x").ref is None
    assert BadMessage("BAD_JSON", "x", "7").ref == "7"
    assert str(BadAudioFrame("too short")) == "too short"


@pytest.mark.parametrize(
    ("cause", "holder", "sentence"),
    [
        (OSError(98, "Address in use"), "pid 7", "cannot listen on [::1]:80: Address in use (held by pid 7); stop it"),
        (OSError(98, "Address in use"), None, "cannot listen on [::1]:80: Address in use; stop it"),
        (OSError("odd"), None, "cannot listen on [::1]:80: odd; stop it"),
    ],
)
def test_cannot_listen_says_where_why_who_and_what_to_do(cause, holder, sentence):
    """The sentence has the address, the system's words, the holder if known, and the advice."""
    error = CannotListen("[::1]:80", cause, holder, "stop it")

    assert str(error) == sentence
    assert (error.address, error.cause, error.holder, error.advice) == ("[::1]:80", cause, holder, "stop it")


def test_configuration_error_lists_all_faults():
    """One line for each fault, in order; what was found is left out where it must not be shown."""
    faults = [
        ConfigurationFault("a.toml:1", "server.ws_port", "an integer from 0 to 65535", "-1"),
        ConfigurationFault("environment X", "auth.key", "16 characters or more"),
    ]
    error = ConfigurationError(faults)
    faults.append(faults[0])

    assert len(error.faults) == 2
    assert str(error) == (
        "a.toml:1: server.ws_port: expected an integer from 0 to 65535, found -1\n"
        "environment X: auth.key: expected 16 characters or more"
    )
