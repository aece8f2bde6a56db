"""What a faulty twin is, and the list of all of them.

A twin is this package's own gateway, or fake device, with one small defect planted: the defects of the servers that it
replaces, as they were described, those that their first fixes left, and more. ``pytest --pyargs
pytest_wsdevice.conformance --ws-faulty NAME`` shows what the suite says of it. A check that no twin makes fail is none.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Literal

import msgspec

from harness.errors import Misuse

SUBJECTS = (
    "conversations",
    "errors",
    "refusals",
    "handovers",
    "heartbeats",
    "peer_messages",
    "redelivery",
    "mail",
    "snapshots",
    "sending",
    "meetings",
    "process",
    "threads",
    "ota",
    "timing",
)
"""Modules of this package that hold twins."""


class Twin(msgspec.Struct, frozen=True):
    """One defect.

    Attributes:
        name: what ``--ws-faulty`` takes.
        subject: the module it is in.
        says: what is wrong with it, in a sentence.
        found_by: the scenarios that must fail on it, all of them and no other: ``test_file.py::test_name``, with its
            parameters where only some of them do; none where only timing reveals it.
        message: a regular expression that the failures' messages match: they name the defect.
        pain_point: number of the field defect it is, from 1 to 10; 0: one of our own.
        hole: it is what the first fix of that pain point still gets wrong.
        network: what it is found over; ``tcp`` where it takes real threads or sockets.
        scenario: of `harness.exploration`, in which seeds find it; empty: the conformance suite does.
        planted: a context manager; the defect is there within it.
    """

    name: str
    subject: str
    says: str
    found_by: tuple[str, ...]
    message: str
    pain_point: int
    hole: bool
    network: Literal["sim", "tcp"]
    scenario: str
    planted: Callable[[], AbstractContextManager[object]]


_twins: dict[str, Twin] = {}


def defect(
    says: str,
    *,
    found_by: str | tuple[str, ...],
    message: str,
    pain_point: int = 0,
    hole: bool = False,
    network: Literal["sim", "tcp"] = "sim",
) -> Callable[[Callable[[], AbstractContextManager[object]]], Callable[[], AbstractContextManager[object]]]:
    """Make a twin of a function that returns the context manager of its defect; its name is the function's."""

    def register(planted: Callable[[], AbstractContextManager[object]]) -> Callable[[], AbstractContextManager[object]]:
        name = planted.__name__.replace("_", "-")
        assert name not in _twins, f"two twins are called {name}"
        scenarios = (found_by,) if isinstance(found_by, str) else found_by
        subject = planted.__module__.rpartition(".")[2]
        _twins[name] = Twin(name, subject, says, scenarios, message, pain_point, hole, network, "", planted)
        return planted

    return register


def timing_defect(
    says: str, *, scenario: str, message: str
) -> Callable[[Callable[[], AbstractContextManager[object]]], Callable[[], AbstractContextManager[object]]]:
    """Make a twin that no scenario of the conformance suite finds; see `defect`.

    Args:
        says: what is wrong with it, in a sentence.
        scenario: of `harness.exploration`, in which some seeds find it.
        message: a regular expression that what is found matches.
    """

    def register(planted: Callable[[], AbstractContextManager[object]]) -> Callable[[], AbstractContextManager[object]]:
        name = planted.__name__.replace("_", "-")
        assert name not in _twins, f"two twins are called {name}"
        subject = planted.__module__.rpartition(".")[2]
        _twins[name] = Twin(name, subject, says, (), message, 0, False, "sim", scenario, planted)
        return planted

    return register


def twins() -> Mapping[str, Twin]:
    """Return all twins by name, those of a subject together."""
    for subject in SUBJECTS:
        import_module(f"harness.faulty.{subject}")
    return _twins


def twin(name: str) -> Twin:
    """Return a twin.

    Raises:
        Misuse: there is none of this name.
    """
    known = twins()
    if name not in known:
        meant = difflib.get_close_matches(name, known, 1)
        question = f", did you mean {meant[0]}?" if meant else ""
        raise Misuse(f"expected the name of a faulty twin ({', '.join(known)}), got {name!r}{question}")
    return known[name]


def by_subject() -> Iterator[tuple[str, list[Twin]]]:
    """Iterate over the subjects, each with its twins."""
    known = twins().values()
    for subject in SUBJECTS:
        yield subject, [one for one in known if one.subject == subject]
