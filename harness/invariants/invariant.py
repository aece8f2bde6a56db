"""What an invariant is, and the checking of many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from harness.invariants import facts
from harness.invariants.budgets import DEFAULT, Budgets
from harness.invariants.facts import Fact

When: TypeAlias = Literal["after every event", "at the end of the quiet phase", "both"]


class Violation(msgspec.Struct, frozen=True):
    """An invariant does not hold.

    Attributes:
        invariant: its number.
        at: loop time at which that was seen.
        text: what was seen, in a sentence.
    """

    invariant: int
    at: float
    text: str

    def __str__(self) -> str:
        return f"invariant {self.invariant} at {self.at:.6f} s: {self.text}"


class Invariant:
    """Root of all: looks at facts, and yields a sentence for each that must not be.

    Args:
        budgets: how long and how much.

    Attributes:
        number: of ``docs/invariants.md``.
        says: what must hold.
        when: it can be seen not to.
    """

    number: ClassVar[int]
    says: ClassVar[str]
    when: ClassVar[When]

    def __init__(self, budgets: Budgets = DEFAULT) -> None:
        self.budgets = budgets


Look: TypeAlias = Callable[[Any], Iterable[str] | None]


class Invariants:
    """Several invariants over one stream of facts.

    An invariant looks at a kind of fact by a method of its name: ``framed`` at `Framed`, ``life_began`` at `LifeBegan`.

    Args:
        kinds: which; each is made anew.
        budgets: for all of them.
    """

    def __init__(self, kinds: Iterable[type[Invariant]], budgets: Budgets = DEFAULT) -> None:
        self.violations: list[Violation] = []
        """All that were seen, in order."""
        self._looks: dict[type[Fact], list[tuple[int, Look]]] = {kind: [] for kind in _KINDS.values()}
        for one in [kind(budgets) for kind in kinds]:
            for name, kind in _KINDS.items():
                look: Look | None = getattr(one, name, None)
                if look is not None:
                    self._looks[kind].append((one.number, look))

    def see(self, fact: Fact) -> Iterator[Violation]:
        """Show a fact to all that want to see it; yield what they say.

        Never raises: a fact that an invariant cannot read is none that the protocol knows, and so a violation of it.
        """
        for number, look in self._looks[type(fact)]:
            for text in _said(look, fact):
                violation = Violation(number, fact.at, text)
                self.violations.append(violation)
                yield violation

    def check(self, stream: Iterable[Fact]) -> list[Violation]:
        """Look at a whole record; return all that is wrong with it."""
        return [violation for fact in stream for violation in self.see(fact)]


def _said(look: Look, fact: Fact) -> list[str]:
    try:
        return list(look(fact) or ())
    except Exception as error:  # noqa: BLE001 - what it stumbles over is what devices were sent, by whatever gateway
        return [f"expected facts of the protocol's form, got {str(fact)[:500]}, at which it failed with {error!r}"]


def _kinds() -> Iterator[tuple[str, type[Fact]]]:
    for kind in vars(facts).values():
        if isinstance(kind, type) and issubclass(kind, Fact) and kind is not Fact:
            name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)
            yield name.removeprefix("_"), kind


_KINDS: dict[str, type[Fact]] = dict(_kinds())
