"""Takes tokens and keys out of what is written about a test: by their form, by their name, and those that are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from gateway.observe.logging import redact

MASK = "***"
SHORTEST = 6
"""Characters of a secret: shorter ones would mask half of every text."""

_NAMED = re.compile(
    r"""(?ix)
    ( ["']? \b [\w-]* (?:token|authorization|password|passwd|secret|api_?key|auth_?key|psk) \b ["']? \s* [:=] \s* )
    ( "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s"'&,;}\])]+ )"""
)
"""A member, parameter or setting whose name says that its value is nobody's business."""


class Redactor:
    """Masks what must not be written down.

    Args:
        secrets: strings that are masked wherever they stand; those below `SHORTEST` are left out.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Know further secrets from now on, as they are and as they stand in JSON and in addresses."""
        for secret in secrets:
            if len(secret) >= SHORTEST:
                self._secrets |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
                self._secrets |= {quote(secret), quote(secret, safe=""), quote_plus(secret)}

    @property
    def secrets(self) -> frozenset[str]:
        """Those that it knows."""
        return frozenset(self._secrets)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return _NAMED.sub(rf"\1{MASK}", redact(text))
