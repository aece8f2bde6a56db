"""Takes secrets out of a record, before anything is made of it."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import msgspec

from harness.redaction import MASK, Redactor
from harness.report.record import Record

T = TypeVar("T")

_STRUCTURE = {"kind", "lane", "opcode", "event"}
"""Of a timeline's row: words of this package, which say what the row is. No peer chooses them."""
_SHORT = 60
"""Characters of a text that is worth remembering: names, words, addresses. Most longer ones come once."""


def masked(record: Record, redactor: Redactor) -> Record:
    """Return the same record with every text shown to the redactor; also binary payloads, as text.

    What is not Unicode (lone surrogates) becomes question marks, so that every report can be encoded.
    """
    return _Masking(redactor).struct(record)


class _Masking:
    """Looks at each text once: the names and words of a timeline stand in each of its rows."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._seen: dict[str, str] = {}

    def struct(self, struct: T) -> T:
        fields = msgspec.structs.fields(cast("Any", struct))
        free = [field.name for field in fields if not _of_ours(field.type) and field.name != "schema"]
        texts = {name: self._value(getattr(struct, name)) for name in free}
        return cast("T", msgspec.structs.replace(cast("Any", struct), **texts))

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, msgspec.Struct):
            return self.struct(value)
        if isinstance(value, dict):
            return self._mapping(value)
        return tuple(map(self._value, value)) if isinstance(value, list | tuple) else value

    def _text(self, text: str) -> str:
        if len(text) > _SHORT:
            return self._redactor(text.encode("utf-8", "replace").decode())
        if text not in self._seen:
            self._seen[text] = self._redactor(text.encode("utf-8", "replace").decode())
        return self._seen[text]

    def _mapping(self, mapping: dict[str, Any]) -> dict[str, Any]:
        row = "kind" in mapping and "at" in mapping
        return {
            self._text(name): value if row and name in _STRUCTURE else self._part(name, value)
            for name, value in mapping.items()
        }

    def _part(self, name: str, value: Any) -> Any:
        return self._binary(value) if name == "base64" else self._value(value)

    def _binary(self, value: Any) -> Any:
        try:
            text = base64.b64decode(value, validate=True).decode("latin-1")
        except (binascii.Error, ValueError, TypeError):
            return self._value(value)
        return value if self._redactor(text) == text else MASK


def _of_ours(kind: Any) -> bool:
    """Whether a field holds one of a few words of this package: a password may be the same word."""
    return any(get_origin(one) is Literal for one in (kind, *get_args(kind)))
