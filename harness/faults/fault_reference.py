"""The vocabulary and the schedules as rows of tables, for the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import msgspec

from harness.faults.schedules import SCHEDULES
from harness.faults.tcp_ground import TcpGround
from harness.faults.vocabulary import KINDS, Fault

_IF = {
    "kill_gateway": " (a gateway in a process of its own)",
    "start_gateway": " (a gateway in a process of its own)",
    "wifi_off": " (fake devices)",
    "wifi_on": " (fake devices)",
}


def fault_rows() -> Iterator[tuple[str, str, str, str]]:
    """Each fault: its name, its values but for whom and which way, what it does, where it can be done."""
    for name, kind in KINDS.items():
        fields = [field for field in msgspec.structs.fields(kind) if field.name not in ("on", "direction")]
        values = "<br>".join(_value(field, kind) for field in fields)
        lasts = " *Lasts.*" if kind.lasts else ""
        yield f"`{name}`", values, f"{_sentence(kind)}{lasts}", _where(name)


def schedule_rows() -> Iterator[tuple[str, str]]:
    """Each kind of schedule: its name, and what goes wrong."""
    for name, kind in SCHEDULES.items():
        yield f"`{name}`", _sentence(kind)


def _value(field: msgspec.structs.FieldInfo, kind: type[Fault]) -> str:
    (info,) = (one for one in msgspec.inspect.type_info(kind).fields if one.name == field.name)  # type: ignore[attr-defined]
    description = _in_words(str((info.type.extra_json_schema or {})["description"]))
    default: Any = field.default
    unsaid = "" if field.required or default == "" else f" ({default})"
    return f"`{field.name}`: {description}{unsaid}"


def _where(name: str) -> str:
    if name not in TcpGround.possible:
        return "sim"
    return f"sim, tcp{_IF.get(name, '')}"


def _sentence(thing: Any) -> str:
    """The first paragraph of a docstring, for people who do not read code."""
    return _in_words(" ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()))


def _in_words(text: str) -> str:
    for name, kind in KINDS.items():
        text = text.replace(f"`{kind.__name__}`", f"`{name}`")
    return text
