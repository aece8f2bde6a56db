"""Every setting in words: what it takes, what it means, what it is called in the environment.

The faults that `gateway.config_file` lists and the page ``docs/configuration.md`` use the same words, both made from
the types and constraints in `gateway.config`. ``python -m gateway.config_reference`` prints the page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from gateway.config import Config
from gateway.identity import printable

VARIABLE_PREFIX = "WSDEVICE_"
CONFIG_VARIABLE = "WSDEVICE_CONFIG"
"""Names the configuration file where the command line does not."""


class Setting(msgspec.Struct, frozen=True):
    """One setting.

    Attributes:
        section: the table of the file it stands in.
        key: its name in that table.
        type: the annotation in `gateway.config`, constraints included.
        kind: that type without constraints, and without None.
        optional: it may be unset.
        default: what it is when nobody says otherwise.
        expected: what it takes, in words that follow "expected".
        description: what it means.
        secret: its value must never be shown.
    """

    section: str
    key: str
    type: Any
    kind: Any
    optional: bool
    default: Any
    expected: str
    description: str
    secret: bool

    @property
    def name(self) -> str:
        """Section and key, dotted."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{VARIABLE_PREFIX}{self.section}_{self.key}".upper()


def _sections() -> dict[str, type[msgspec.Struct]]:
    return get_type_hints(Config)


def _settings() -> Iterator[Setting]:
    defaults = Config()
    for section, struct in _sections().items():
        for key, annotation in get_type_hints(struct, include_extras=True).items():
            yield _setting(section, key, annotation, getattr(getattr(defaults, section), key))


def _setting(section: str, key: str, annotation: Any, default: Any) -> Setting:
    assert get_origin(annotation) is Annotated, f"{section}.{key} has no Meta"
    whole, meta = get_args(annotation)
    members = [member for member in _members(whole) if member is not NoneType]
    assert len(members) == 1, f"{section}.{key} is a union of more than one type and None"
    return Setting(
        section=section,
        key=key,
        type=annotation,
        kind=members[0],
        optional=NoneType in _members(whole),
        default=default,
        expected=(meta.extra or {}).get("expected") or in_words(members[0], meta),
        description=meta.description,
        secret=bool((meta.extra_json_schema or {}).get("secret")),
    )


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def in_words(kind: Any, meta: Meta) -> str:
    """Say what a type with its constraints takes, in words that follow "expected"."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is list:
        return f"a list of {meta.min_length} or more texts" if meta.min_length else "a list of texts"
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}[kind]
    return words + _range_in_words(meta)


def _range_in_words(meta: Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge} to {meta.le}"
    if meta.ge is not None:
        return f" of {meta.ge} or more"
    if meta.gt is not None:
        return f" above {meta.gt}"
    return ""


SETTINGS = {setting.name: setting for setting in _settings()}
"""Each setting by its dotted name, in the order of `gateway.config`."""

SECTIONS = tuple(_sections())
"""The names of the sections, in the order of `gateway.config`."""


_HEAD = f"""\
# Configuration

<!-- Made by `python -m gateway.config_reference`; change `gateway/config.py` instead. -->

Nothing has to be configured: without a file the gateway serves this machine only.
Settings come from a TOML file (`--config`, or the path in `{CONFIG_VARIABLE}`) and from environment variables.
The environment wins over the file.
All faults of both are listed at once, each with the file and line, or the variable, that it came from.

```toml
[server]
host = ["0.0.0.0", "::"]        # beyond loopback, devices need tokens ...

[auth]
key_file = "/run/credentials/wsdevice.service/auth-key"   # ... which this secret signs

[logging]
level = "DEBUG"
```

## How values are read

- A key, a section, or a variable that begins with `{VARIABLE_PREFIX}` and that the gateway does not know is a fault.
  So is a value that does not fit; nothing is guessed.
  Left alone are `{VARIABLE_PREFIX}TEST_*`, which is the pytest plugin's, and what Kubernetes sets for services whose
  names begin with `wsdevice` (`WSDEVICE_SERVICE_HOST`, `WSDEVICE_PORT=tcp://...`).
- An environment variable is called `{VARIABLE_PREFIX}<SECTION>_<KEY>`:
  `server.ws_port` is `WSDEVICE_SERVER_WS_PORT`.
- In the environment, a truth value is written `true` or `false`, in capitals or not.
  `1`, `0`, `yes`, `no`, `on` and `off` are faults.
- In the file, a list of one may be written as that one text: `host = "0.0.0.0"`.
- In the environment, a list is comma separated (`10.0.0.1, ::1`) or a TOML array (`["10.0.0.1", "::1"]`).
- An empty variable unsets a setting that may be unset; it is the empty text, or the empty list.
  For a number or a choice it is a fault.
- Numbers are finite. Times are seconds unless the name says otherwise.
- Relative paths start from the directory the gateway is started in.
- Device ids are brought to the form the gateway uses everywhere: trimmed, without quotes, in lower case.
- Three values are mended, with a warning, instead of refused: `meeting.threadpool_max_workers`,
  `meeting.transcript_push_interval_ms` and `workflow.snapshot_on_register_delay_ms`.

## Rules over several settings

- Where `server.host` has an address beyond loopback, `auth.enabled = false` is refused.
- Where tokens are asked for, `auth.key` or `auth.key_file` is needed. Only one of them may be set.
- A key has 16 characters or more; white space around the text of a key file is not part of it.
  `python3 -c "import secrets; print(secrets.token_urlsafe(32))"` makes one.
- `peer.retry_max` is not less than `peer.retry_first`, nor `handover.refusal_max` less than `handover.refusal`.
- Each of `server.paths` begins with a slash, `server.public_websocket_url` with `ws://` or `wss://`.
- None of `server.host` is empty; an IPv6 address stands without brackets, and no address has a port.
- `server.ws_port` and `server.http_port` differ, unless both are 0.
- `server.state_dir`, where set, is a directory or can become one; `ota.image_dir`, where set, is one that can be read.
"""


def render() -> str:
    """Return the reference page as Markdown."""
    return _HEAD + "".join(_section(name, struct) for name, struct in _sections().items())


def _section(name: str, struct: type[msgspec.Struct]) -> str:
    rows = "".join(_row(setting) for setting in SETTINGS.values() if setting.section == name)
    head = "| Key | Takes | Default | Environment | Meaning |\n|---|---|---|---|---|\n"
    return f"\n## [{name}]\n\n{struct.__doc__}\n\n{head}{rows}"


def _row(setting: Setting) -> str:
    cells = (
        f"`{setting.key}`",
        setting.expected + (", or unset" if setting.optional else ""),
        "unset" if setting.default is None else f"`{in_toml(setting.default)}`",
        f"`{setting.variable}`",
        setting.description,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def in_toml(value: Any) -> str:
    """Write a truth value, a number, a text or a list as it stands in TOML."""
    return json.dumps(value, ensure_ascii=False)


def shown(value: Any) -> str:
    """Make a value of the file or the environment fit to be read: as TOML, printable and short."""
    if isinstance(value, dict):
        return "a section"
    try:
        return printable(in_toml(value))
    except TypeError:
        return "a date or time"
    except (ValueError, RecursionError):  # an integer too long to be written in decimal digits
        return "a value that is far too large"


if __name__ == "__main__":
    sys.stdout.write(render())
