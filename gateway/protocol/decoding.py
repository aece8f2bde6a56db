"""The strict decoding of text frames, and of their objects into typed messages."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from gateway.errors import BadMessage
from gateway.protocol import limits

T = TypeVar("T", bound=msgspec.Struct)

_WHITE_SPACE = b" \t\r\n"
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_decode_json = msgspec.json.Decoder().decode


def decode_object(data: bytes) -> dict[str, Any]:
    """Decode the text of one message, which must be a JSON object.

    Args:
        data: UTF-8, already checked (a text frame that is not UTF-8 closes the connection with 1007).

    Raises:
        BadMessage: BAD_JSON, for anything that is not a JSON object, nests deeper than 32, has NaN or infinities,
            numbers that do not fit, duplicate keys, or lone surrogates.
    """
    try:
        value = _decode_json(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        # ValueError: an integer of thousands of digits; RecursionError: nesting far over the limit.
        raise BadMessage("BAD_JSON", "expected one JSON object in the text frame") from None
    if type(value) is not dict:
        raise BadMessage("BAD_JSON", "expected a JSON object, got another JSON value")
    # msgspec keeps the last of duplicate keys, silently. Every key is followed by '":' once white space is gone, so
    # that count bounds the keys from above; where it is larger (a text with '\":' in it), the slow way decides.
    if _check_members(value, 1) != data.translate(None, _WHITE_SPACE).count(b'":') and _has_duplicate_keys(data):
        raise BadMessage("BAD_JSON", "expected each key once per object")
    return value


def _check_members(value: dict[str, Any] | list[Any], depth: int) -> int:
    """Count the keys of a decoded value and all in it; raise BadMessage past the depth limit or 64 bits."""
    if depth > limits.JSON_DEPTH:
        raise BadMessage("BAD_JSON", f"expected at most {limits.JSON_DEPTH} levels of nesting")
    if type(value) is dict:
        count = len(value)
        members: Any = value.values()
    else:
        count = 0
        members = value
    for member in members:
        kind = type(member)
        if kind is dict or kind is list:
            count += _check_members(member, depth + 1)
        elif kind is int and not _INT_MIN <= member <= _INT_MAX:
            # Floats out of range are refused by msgspec, ints are not; they would surprise whoever calculates with
            # them, and no other language of the field can read them.
            raise BadMessage("BAD_JSON", "expected integers of at most 64 bits")
    return count


class _DuplicateKeyError(Exception):
    """An object of the document has a key twice."""


def _has_duplicate_keys(data: bytes) -> bool:
    # The slow way, taken by few messages: the standard library shows the pairs of an object, msgspec does not.
    def pairs_once(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise _DuplicateKeyError

    try:
        json.loads(data, object_pairs_hook=pairs_once)
    except (_DuplicateKeyError, RecursionError):
        # Only what a repeated key has hidden from the depth check can nest deeply enough for a RecursionError.
        return True
    return False


def type_of(message: dict[str, Any]) -> str:
    """Return the message's ``type``.

    Raises:
        BadMessage: BAD_TYPE, when it is missing or not a non-empty string.
    """
    kind = message.get("type")
    if type(kind) is not str or not kind:
        raise BadMessage("BAD_TYPE", "expected a string 'type'")
    return kind


def parse(message: dict[str, Any], struct: type[T]) -> T:
    """Turn a decoded object into its typed message.

    Raises:
        BadMessage: SCHEMA_INVALID, naming the field that is wrong.
    """
    try:
        return msgspec.convert(message, struct)
    except msgspec.ValidationError:
        # not the sentence of msgspec: it repeats the peer's text, and does not say what would be right
        reason = _expected(message, struct)[: limits.ERROR_TEXT_CHARACTERS]
        raise BadMessage("SCHEMA_INVALID", reason, reference(message)) from None


def _expected(message: dict[str, Any], struct: type[msgspec.Struct], inside: str = "") -> str:
    """Say what the first field that does not fit should be; made of types and our field names only."""
    for field in msgspec.structs.fields(struct):
        name = f"{inside}{field.encode_name}"
        if field.encode_name not in message:
            if field.required:
                return f"expected a field '{name}'"
            continue
        value = message[field.encode_name]
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            if type(value) is dict and isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                return _expected(value, field.type, f"{name}.")
            return f"expected '{name}' to be {_in_words(field.type)}"
    return "expected other fields"


def _in_words(kind: Any) -> str:
    origin, members = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{_in_words(members[0])} within its limits"
    if origin is Literal:
        return "one of " + ", ".join(str(member) for member in members)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(member) for member in members)
    if origin in (list, dict) and members[-1] is not Any:
        return f"{_WORDS[origin]}, each {'item' if origin is list else 'value'} {_in_words(members[-1])}"
    bare = origin or kind
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return "an object"
    return _WORDS.get(bare, "another value")


_WORDS = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    dict: "an object",
    list: "an array",
    NoneType: "null",
}


def reference(message: dict[str, Any]) -> str | None:
    """Return the message's ``id`` if it is a short string, to name it in an error reply."""
    found = message.get("id")
    return found if type(found) is str and 0 < len(found) <= limits.PRINTED_CHARACTERS else None
