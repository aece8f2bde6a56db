"""Reads a bench file, and lists every fault of it at once."""

from __future__ import annotations

import datetime as dt
import difflib
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.config_reference import shown
from gateway.errors import ConfigurationFault
from gateway.identity import printable
from harness.bench import bench_rules
from harness.bench.bench_file import SCHEMA, Bench, BenchTable, BoardConfig, NetworkConfig, plain_mac
from harness.bench.bench_reference import BenchSetting, settings, tables_within
from harness.bench.errors import BadBenchFile
from harness.bench.toml_lines import Place, line_numbers, line_of

_TOP = ("schema", "bench", "network", "board")
_PASSWORDS = frozenset({"psk", "password", "passphrase", "wifi_password"})


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Bench:
    """Read a bench file and check it, each board by itself and against the others.

    Whether a board is there, or a hub, or a password's variable, is not asked: that is for those who use them.

    Raises:
        BadBenchFile: with every fault, in the order of the file. Nothing secret is in them.
    """
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
        document = tomllib.loads(text)
    except OSError as error:
        raise _single(source, "file", "a readable file", error.strerror or type(error).__name__) from None
    except UnicodeDecodeError:
        raise _single(source, "file", "UTF-8 text", "") from None
    except (ValueError, RecursionError) as error:  # ValueError: an integer of thousands of digits
        line = re.search(r"\(at line (\d+)", str(error))
        raise _single(f"{source}:{line[1]}" if line else source, "file", "TOML", printable(error, 120)) from None
    reading = _Reading(source, line_numbers(text))
    bench = reading.bench(document, environ)
    if reading.faults:
        raise BadBenchFile(reading.in_order())
    return bench


def default_lock_dir() -> str:
    """Return where leases are kept when the file does not say: a place that all users of the machine share."""
    shared = Path("/run/lock")  # Debian and its kin: world-writable, in memory, gone after a restart
    if os.access(shared, os.W_OK):
        return str(shared / "wsdevice")
    return str(Path(tempfile.gettempdir(), "wsdevice-locks"))


def default_state_dir(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return where the history of a bench's boards is kept when the file does not say."""
    base = environ.get("XDG_STATE_HOME")
    state = Path(base) if base else Path.home() / ".local" / "state"
    return str(state / "wsdevice" / "benches" / name)


def _single(source: str, key: str, expected: str, found: str) -> BadBenchFile:
    return BadBenchFile([ConfigurationFault(source, key, expected, found)])


class _Reading:
    """What has been found so far of one file: faults with their lines, and the places that are wrong."""

    def __init__(self, source: str, lines: Mapping[Place, int]) -> None:
        self.source = source
        self.lines = lines
        self.faults: list[tuple[int, ConfigurationFault]] = []
        self.wrong: set[Place] = set()
        self.names: dict[Place, str] = {}  # of boards, for people

    def bench(self, document: Mapping[str, Any], environ: Mapping[str, str]) -> Bench:
        """Read the whole document; the result counts only where no fault was found."""
        self.check_top(document)
        rig = self.table(BenchTable, document.get("bench"), ("bench",))
        network = self.table(NetworkConfig, document.get("network", {}), ("network",))
        boards = self.boards(document.get("board"))
        name = rig.get("name", "")
        bench = Bench(
            name=name,
            lock_dir=rig.get("lock_dir") or default_lock_dir(),
            state_dir=rig.get("state_dir") or default_state_dir(name, environ),
            network=NetworkConfig(**network),
            boards=tuple(boards.values()),
            source=self.source,
        )
        for breach in bench_rules.check(bench.network, boards):
            # a rule that stands on a wrong value would only repeat that it is wrong
            if not any(self.is_wrong(place) for place in breach.places):
                self.fault(breach.places[0], breach.expected, breach.found)
        return bench

    def check_top(self, document: Mapping[str, Any]) -> None:
        for name in document:
            if name not in _TOP:
                self.fault((name,), "a known table" + _question(name, ["bench", "network", "board"]))
        if "schema" not in document:
            self.fault(("schema",), f"schema = {SCHEMA} as the first line")
        elif document["schema"] != SCHEMA or isinstance(document["schema"], bool):
            self.fault(("schema",), f"{SCHEMA}, the one this release reads", shown(document["schema"]))

    def boards(self, tables: Any) -> dict[int, BoardConfig]:
        """Return the boards by their number in the file; what is wrong or missing of one is stood in for."""
        if not isinstance(tables, list) or not tables:
            self.fault(("board",), "one [[board]] or more")
            return {}
        made = {}
        for number, table in enumerate(tables):
            place: Place = ("board", number)
            self.names[place] = _board_name(number, table)
            stand_ins = {"id": f"#{number}", "chip": "esp32s3", "mac": f"#{number}"}  # like those of no other board
            values = stand_ins | self.table(BoardConfig, table, place)
            made[number] = BoardConfig(**values | {"mac": plain_mac(values["mac"])})
        return made

    def table(self, struct: type[msgspec.Struct], table: Any, place: Place) -> dict[str, Any]:
        """Return the values of a table that fit."""
        if not isinstance(table, dict):
            self.fault(place, "a table of settings")
            return {}
        known, within = settings(struct), tables_within(struct)
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key in within:
                values[key] = within[key](**self.table(within[key], value, (*place, key)))
            elif key in known:
                self.take(known[key], value, (*place, key), values)
            elif key in _PASSWORDS and struct is NetworkConfig:
                self.fault((*place, key), "psk_env, the name of an environment variable: no secret is in this file")
            else:
                self.fault((*place, key), "a known setting" + _question(key, [*known, *within]))
        for setting in known.values():
            if setting.required and setting.key not in table:
                self.fault((*place, setting.key), setting.expected, "none")
        return values

    def take(self, setting: BenchSetting, value: Any, place: Place, values: dict[str, Any]) -> None:
        """Keep a value that fits its setting; a fault otherwise."""
        if isinstance(value, dt.date) and setting.key == "probed":
            value = value.isoformat()  # TOML has dates of its own; either is plain enough
        try:
            values[setting.key] = msgspec.convert(value, setting.type)
        except msgspec.ValidationError:
            self.fault(place, setting.expected, "" if setting.secret else shown(value))

    def fault(self, place: Place, expected: str, found: str = "") -> None:
        line = line_of(place, self.lines)
        source = f"{self.source}:{line}" if line else self.source
        self.faults.append((line or 0, ConfigurationFault(source, self.called(place), expected, found)))
        self.wrong.add(place)

    def is_wrong(self, place: Place) -> bool:
        """Tell whether a place, one around it or one within it has a fault already."""
        return any(place[: len(wrong)] == wrong or wrong[: len(place)] == place for wrong in self.wrong)

    def called(self, place: Place) -> str:
        """Name a place for people: ``network.ssid``, ``board s3-01: power.kind``."""
        name = self.names.get(place[:2])
        if name is None:
            return printable(".".join(str(part) for part in place))
        rest = ".".join(str(part) for part in place[2:])
        return f"{name}: {printable(rest)}" if rest else name

    def in_order(self) -> list[ConfigurationFault]:
        return [fault for _, fault in sorted(self.faults, key=lambda one: one[0])]


def _board_name(number: int, table: Any) -> str:
    named = table.get("id") if isinstance(table, dict) else None
    return f"board {printable(named, 48)}" if isinstance(named, str) and named else f"board {number + 1}"


def _question(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
