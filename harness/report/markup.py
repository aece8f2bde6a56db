"""Elements of HTML and SVG, made so that text cannot become markup: only `Markup` is taken as it is."""

from __future__ import annotations

import html

from gateway.identity import escaped

TEXT_CHARACTERS = 20_000
"""Of one text with several lines: a core dump with its registers, stacks and functions has some 10,000."""
_KEPT = "\n\t\N{NO-BREAK SPACE}"


class Markup(str):
    """Text that is markup already; only this package makes it."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Markup:
    """Return an element. Children and attributes that are None, and attributes that are False, are left out.

    An underscore in an attribute's name stands for a hyphen; one at its end is dropped (``class_``).
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in {"meta", "input", "br", "hr"}:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | None) -> Markup:
    """Return children one after the other, texts escaped."""
    return Markup("".join(text(child) for child in children if child is not None))


def text(value: str) -> Markup:
    """Escape a text, unless it is markup; control characters but line ends and tabs are shown as escapes."""
    return value if isinstance(value, Markup) else Markup(html.escape(_visible(value)))


def several_lines(value: str, limit: int = TEXT_CHARACTERS) -> str:
    """Cap a text of several lines at its end, and say so."""
    value = value.strip("\n")
    if len(value) <= limit:
        return value
    return f"{value[:limit]}\n… {len(value) - limit} characters more are in the record"


def _visible(value: str) -> str:
    if value.isprintable():
        return value
    value = value.replace("\r\n", "\n")
    return "".join(c if c in _KEPT or c.isprintable() else escaped(c) for c in value)


def _attribute(name: str, value: str | float | bool) -> str:
    if value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value if isinstance(value, str) else str(value))}"'
