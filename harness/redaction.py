"""Takes tokens and keys out of what is written about a test: by their form, by their name, and those that are known."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.observe.logging import redact

MASK = "***"

_NAMED = re.compile(
    r"""(?ix)
    ( ["']? \b [\w-]* (?:token|authorization|password|passwd|secret|api_?key|auth_?key|psk) \b ["']? \s* [:=] \s* )
    ( "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s"'&,;}\])]+ )"""
)
"""A member, parameter or setting whose name says that its value is nobody's business."""


class Redactor:
    """Masks what must not be written down.

    Args:
        secrets: strings that are masked wherever they stand; short ones (below 6 characters) are left out, since they
            would mask half of every text.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Know further secrets from now on."""
        self._secrets.update(secret for secret in secrets if len(secret) >= 6)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return _NAMED.sub(rf"\1{MASK}", redact(text))
