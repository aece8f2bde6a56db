"""Reads the configuration from a TOML file and the environment, and lists every fault of it at once."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from gateway.config import Config
from gateway.config_reference import CONFIG_VARIABLE, SECTIONS, SETTINGS, VARIABLE_PREFIX, Setting, shown
from gateway.config_rules import check
from gateway.errors import BadDeviceId, ConfigurationError, ConfigurationFault
from gateway.identity import device_id, printable
from gateway.protocol import limits

DEFAULT_THREADS = 2
MOST_THREADS = 64

_DEVICE_LISTS = frozenset({"auth.allowed_devices", "heartbeat.control_ping_devices"})


class LoadedConfig(msgspec.Struct, frozen=True):
    """A configuration without faults.

    Attributes:
        config: the settings, with the text of ``auth.key_file`` in ``auth.key``.
        warnings: one sentence for each value that was mended; to be logged once.
        origins: where each setting that is not a default came from, by dotted name: ``gateway.toml:12``, or
            ``environment WSDEVICE_SERVER_WS_PORT``.
    """

    config: Config
    warnings: tuple[str, ...]
    origins: Mapping[str, str]


def load(path: Path | None, environ: Mapping[str, str]) -> LoadedConfig:
    """Read the file, if one is given, then the environment, which wins; then check what settings ask of each other.

    Raises:
        ConfigurationError: with every fault that was found, in the order of the file, then of the environment, then
            those between settings. Nothing secret is in them.
    """
    reading = _Reading()
    if path is not None:
        reading.read_file(path)
    reading.read_environment(environ)
    return reading.finish()


class _Reading:
    """What has been found so far: values that fit, by dotted name, and faults."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.faults: list[ConfigurationFault] = []
        self.wrong: set[str] = set()
        self.warnings: list[str] = []

    # --- sources ----------------------------------------------------------------------------------------------

    def read_file(self, path: Path) -> None:
        source = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
            document = tomllib.loads(text)
        except OSError as error:
            self.fault(source, "file", "a readable file", error.strerror or type(error).__name__)
        except UnicodeDecodeError:
            self.fault(source, "file", "UTF-8 text")
        except (ValueError, RecursionError) as error:  # ValueError: an integer of thousands of digits
            line = re.search(r"\(at line (\d+)", str(error))
            self.fault(f"{source}:{line[1]}" if line else source, "file", "TOML", printable(error, 120))
        else:
            lines = _line_numbers(text)
            for section, table in document.items():
                self.read_section(section, table, source, lines)

    def read_section(self, section: str, table: Any, path: str, lines: Mapping[str, int]) -> None:
        def source_of(name: str) -> str:
            line = lines.get(name) or lines.get(section)
            return f"{path}:{line}" if line else path

        if section not in SECTIONS:
            self.fault(source_of(section), printable(section), "a known section" + _question(_meant_section(section)))
        elif not isinstance(table, dict):
            self.fault(source_of(section), section, f"a section of settings, [{section}]")
        else:
            for key, value in table.items():
                name = f"{section}.{key}"
                if setting := SETTINGS.get(name):
                    self.take(setting, _list_of_one(setting, value), source_of(name))
                else:
                    meant = _meant_setting(section, key)
                    expected = "a known setting" + _question(meant.name if meant else None)
                    self.fault(source_of(name), printable(name), expected)

    def read_environment(self, environ: Mapping[str, str]) -> None:
        by_variable = {setting.variable: setting for setting in SETTINGS.values()}
        for variable, text in environ.items():
            if not variable.startswith(VARIABLE_PREFIX):
                continue
            source = f"environment {printable(variable)}"
            if setting := by_variable.get(variable):
                self.take(setting, _from_text(setting, text), source)
            elif variable != CONFIG_VARIABLE and not _is_of_others(variable, text):
                name = variable.removeprefix(VARIABLE_PREFIX).lower().replace("_", ".", 1)
                expected = "a known variable" + _question(_meant_variable(name))
                self.fault(source, printable(name), expected)

    # --- values -----------------------------------------------------------------------------------------------

    def take(self, setting: Setting, value: Any, source: str) -> None:
        """Keep a value that fits its setting; a fault otherwise."""
        try:
            fitting = _fit(setting, value)
        except _Unfit as unfit:
            self.fault(source, setting.name, unfit.expected, "" if setting.secret else unfit.found)
        else:
            self.values[setting.name] = fitting
            self.origins[setting.name] = source

    def fault(self, source: str, key: str, expected: str, found: str = "") -> None:
        self.faults.append(ConfigurationFault(source, key, expected, found))
        self.wrong.add(key)

    # --- the whole --------------------------------------------------------------------------------------------

    def finish(self) -> LoadedConfig:
        """Mend what is mended, check the rules over several settings, and make the configuration."""
        self.mend()
        config, broken = check(self.built())
        for breach in broken:
            # a rule that stands on a wrong value would only repeat that it is wrong
            if self.wrong.isdisjoint(breach.keys):
                origin = next((self.origins[key] for key in breach.keys if key in self.origins), "defaults")
                self.faults.append(ConfigurationFault(origin, breach.keys[0], breach.expected, breach.found))
        if self.faults:
            raise ConfigurationError(self.faults)
        return LoadedConfig(config, tuple(self.warnings), self.origins)

    def mend(self) -> None:
        """Bring the three settings that are mended into their range, with one warning each."""
        name = "meeting.threadpool_max_workers"
        value = self.values.get(name, DEFAULT_THREADS)
        if type(value) is not int or not 1 <= value <= MOST_THREADS:
            self.mended(name, DEFAULT_THREADS, SETTINGS[name].expected)
        self.bring_into(
            "meeting.transcript_push_interval_ms", limits.TRANSCRIPT_PUSH_MS_MIN, limits.TRANSCRIPT_PUSH_MS_MAX
        )
        self.bring_into("workflow.snapshot_on_register_delay_ms", 0, limits.SNAPSHOT_DELAY_MS_MAX)

    def bring_into(self, name: str, least: int, most: int) -> None:
        value = self.values.get(name, least)
        if not least <= value <= most:
            self.mended(name, min(max(value, least), most), f"{SETTINGS[name].expected} from {least} to {most}")

    def mended(self, name: str, used: int, expected: str) -> None:
        found = shown(self.values[name])
        self.warnings.append(f"{self.origins[name]}: {name}: expected {expected}, found {found}; {used} is used")
        self.values[name] = used

    def built(self) -> Config:
        default = Config()
        sections = {}
        for section in SECTIONS:
            given = {
                SETTINGS[name].key: value for name, value in self.values.items() if SETTINGS[name].section == section
            }
            sections[section] = msgspec.structs.replace(getattr(default, section), **given)
        return Config(**sections)


# --- one value ------------------------------------------------------------------------------------------------


class _Unfit(Exception):
    """A value does not fit its setting."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected = expected
        self.found = found


def _fit(setting: Setting, value: Any) -> Any:
    """Return the value as its setting's type; raise _Unfit where it is another type or out of range."""
    if setting.kind is Any:
        return value
    too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
    if too_large or (isinstance(value, float) and not math.isfinite(value)):
        raise _Unfit(setting.expected, shown(value))
    try:
        fitting = msgspec.convert(value, setting.type)
    except msgspec.ValidationError:
        raise _Unfit(setting.expected, shown(value)) from None
    return _device_ids(fitting) if setting.name in _DEVICE_LISTS else fitting


def _device_ids(texts: list[str]) -> list[str]:
    ids = []
    for text in texts:
        try:
            ids.append(device_id(text))
        except BadDeviceId:
            expected = f"device ids of 1 to {limits.DEVICE_ID_CHARACTERS} printable characters"
            raise _Unfit(expected, shown(text)) from None
    return list(dict.fromkeys(ids))


def _list_of_one(setting: Setting, value: Any) -> Any:
    """Take a text for a list of it, where a list is expected; not one that seems to be several, or none."""
    is_one = get_origin(setting.kind) is list and type(value) is str and value.strip() and "," not in value
    return [value] if is_one else value


def _from_text(setting: Setting, text: str) -> Any:
    """Read an environment variable as its setting's type; text that cannot be read stays text, and does not fit."""
    bare = text.strip()
    if setting.optional and not bare:
        return None
    if setting.kind is str:
        return text
    if setting.kind is bool:
        return {"true": True, "false": False}.get(bare.lower(), text)
    if get_origin(setting.kind) is Literal:
        return next((choice for choice in get_args(setting.kind) if str(choice) == bare), text)
    return _list_from_text(bare) if get_origin(setting.kind) is list else _number_from_text(setting, bare)


def _number_from_text(setting: Setting, text: str) -> Any:
    try:
        return float(text) if setting.kind is float else int(text)
    except ValueError:
        return text


def _list_from_text(text: str) -> Any:
    if text.startswith("["):
        try:
            return tomllib.loads(f"list = {text}")["list"]
        except (ValueError, RecursionError):
            return text
    return [item for item in (item.strip() for item in text.split(",")) if item]


# --- names and places -----------------------------------------------------------------------------------------


def _meant_setting(section: str, key: str) -> Setting | None:
    """Guess which setting a key that is not known was meant to be; one of another section, if exactly so called."""
    here = {setting.key: setting for setting in SETTINGS.values() if setting.section == section}
    if close := difflib.get_close_matches(key, here, n=1):
        return here[close[0]]
    return next((setting for setting in SETTINGS.values() if setting.key == key), None)


def _meant_section(name: str) -> str | None:
    if close := difflib.get_close_matches(name, SECTIONS, n=1):
        return f"[{close[0]}]"
    # a setting that stands before the first section
    return next((setting.name for setting in SETTINGS.values() if setting.key == name), None)


def _meant_variable(name: str) -> str | None:
    """Guess which variable was meant by one that is not known."""
    section, _, key = name.partition(".")
    if section in SECTIONS:
        setting = _meant_setting(section, key)
    else:
        close = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.8)
        setting = SETTINGS[close[0]] if close else None
    return setting.variable if setting else None


def _question(meant: str | None) -> str:
    return f"; did you mean {meant}?" if meant else ""


_TEST_PREFIX = f"{VARIABLE_PREFIX}TEST_"  # settings of the pytest plugin
# What Kubernetes sets in each container for a service whose name is, or begins with, "wsdevice"; it is a link where it
# names a service's address: a bare WSDEVICE_SERVER_PORT=8000 was meant for us.
_SERVICE = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.ASCII
)
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")


def _is_of_others(variable: str, text: str) -> bool:
    """Tell whether a variable with our prefix is not for the gateway: the plugin's, or one that Kubernetes makes."""
    name = variable.removeprefix(VARIABLE_PREFIX)
    return (
        variable.startswith(_TEST_PREFIX)
        or _SERVICE.fullmatch(name) is not None
        or (name.endswith("PORT") and _SERVICE_LINK.match(text) is not None)
    )


_HEADER = re.compile(r"\s*\[\s*([\w-]+)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([\w-]+(?:\.[\w-]+)?)\s*=")


def _line_numbers(text: str) -> dict[str, int]:
    """Find the lines of sections and settings, by dotted name, in a document that is written plainly.

    tomllib does not say where a value stood. A document with texts over several lines gets no numbers: better none
    than wrong ones.
    """
    lines: dict[str, int] = {}
    if '"""' in text or "'''" in text:
        return lines
    section = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            section = header[1]
            lines.setdefault(section, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{section}.{key[1]}" if section else key[1], number)
    return lines
