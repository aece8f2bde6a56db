"""Options of the command line and settings of the configuration file, read once into one frozen object.

The command line beats the configuration file, which beats the environment (``WSDEVICE_TEST_*``).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import pytest

NETWORKS = ("auto", "tcp", "sim")


class Setting(NamedTuple):
    """One setting, in all the places where it can be given.

    Attributes:
        name: as in the configuration file; with dashes, as on the command line; in capitals, in the environment.
        metavar: of the value, on the command line.
        default: where it is given nowhere.
        help: one sentence.
    """

    name: str
    metavar: str
    default: str
    help: str

    @property
    def option(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The variable of the environment."""
        return "WSDEVICE_TEST_" + self.name.removeprefix("ws_").upper()


SETTINGS = (
    Setting(
        "ws_gateway_url",
        "URL",
        "",
        "Test the gateway that runs at this address (ws://host:port/path) instead of one started for each test.",
    ),
    Setting(
        "ws_gateway_http_url",
        "URL",
        "",
        "Where the OTA endpoint and health of the gateway at --ws-gateway-url are (http://host:port).",
    ),
    Setting(
        "ws_gateway_config",
        "FILE",
        "",
        "gateway.toml of the gateway at --ws-gateway-url, where it is not the default; of one started for a test: "
        "what it begins with, below its ws_gateway_config marker.",
    ),
    Setting(
        "ws_network",
        "auto|tcp|sim",
        "auto",
        "What gateway and fake devices talk over: loopback sockets in real time (tcp), or, in async tests, a simulated "
        "network in virtual time (sim), where a test of minutes takes milliseconds. auto: simulated, except for tests "
        'that say ws_needs("tcp"), for boards, and for the gateway at --ws-gateway-url.',
    ),
    Setting(
        "ws_seeds",
        "N",
        "",
        "Run each simulated test N times, with the seeds 1 to N; goes before its ws_seeds marker. Without --ws-network "
        "it simulates.",
    ),
    Setting(
        "ws_seed", "K", "", "Run each simulated test with this seed alone, as the report of a failure says. Likewise."
    ),
    Setting(
        "ws_bench",
        "FILE|virtual:N",
        "",
        "The rig whose boards tests run on with -m hil: its bench.toml, or so many virtual boards (or their chips: "
        "virtual:esp32s3,esp32c3), for trying it out and for CI.",
    ),
    Setting(
        "ws_build",
        "PATH[,PATH]",
        "",
        "The firmware the boards are flashed with: build folders of ESP-IDF, PlatformIO or Arduino, or merged images, "
        "one for each chip; default: what is on them, and on virtual boards the firmware for tests.",
    ),
    Setting("ws_faulty", "NAME", "", "Plant a known defect in each gateway, or device, to see the tests find it."),
    Setting(
        "ws_artifacts",
        "DIR",
        "",
        "Where the timelines of failed tests are written as JSON lines; default: pytest's temporary directory.",
    ),
    Setting("ws_timeline_seconds", "N", "10", "Seconds before the failure that the terminal shows of a timeline."),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked for, checked.

    Attributes:
        gateway_url: of a gateway that runs elsewhere; empty: one is started for each test.
        gateway_http_url: the root of its HTTP port; empty: not known.
        gateway_config: TOML file of the gateway's settings; None: the defaults.
        network: what fake devices and gateway talk over; ``auto``: as each test can.
        seeds: how many of them each simulated test has; None: as its marker says.
        seed: the only one; None: all of them.
        bench: path of a bench file, made absolute, or ``virtual:...``; empty: none.
        builds: paths of the firmware for the boards.
        faulty: name of a planted defect; empty: none.
        artifacts: where timelines go; None: pytest's temporary directory.
        timeline_seconds: how many of them a failure shows.
        given: where each setting that is not its default comes from, for the report's head.
    """

    gateway_url: str
    gateway_http_url: str
    gateway_config: Path | None
    network: Literal["auto", "tcp", "sim"]
    seeds: int | None
    seed: int | None
    bench: str
    builds: tuple[Path, ...]
    faulty: str
    artifacts: Path | None
    timeline_seconds: float
    given: dict[str, str]


OPTIONS = pytest.StashKey[Options]()
"""Of the configuration: what was asked for."""


def add_options(parser: pytest.Parser) -> None:
    """Register every setting, on the command line and in the configuration file."""
    group = parser.getgroup("wsdevice", "gateways and devices (wsdevice)")
    for setting in SETTINGS:
        group.addoption(setting.option, dest=setting.name, metavar=setting.metavar, default=None, help=setting.help)
        parser.addini(setting.name, f"{setting.help} Default: {setting.default or 'none'}.", type="string", default="")


def options_of(config: pytest.Config) -> Options:
    """Return what was asked for; read at the first call.

    Raises:
        pytest.UsageError: as of `read_options`.
    """
    if OPTIONS not in config.stash:
        config.stash[OPTIONS] = read_options(config)
    return config.stash[OPTIONS]


def read_options(config: pytest.Config) -> Options:
    """Return the settings.

    Raises:
        pytest.UsageError: one of them is not what it has to be.
    """
    values: dict[str, str] = {}
    given: dict[str, str] = {}
    for setting in SETTINGS:
        value, where = _find(config, setting)
        values[setting.name] = value
        if where:
            given[setting.name] = f"{value} ({where})"
    if "ws_network" not in given and (values["ws_seeds"] or values["ws_seed"]):
        values["ws_network"] = "sim"
    _check(values, given)
    return Options(
        gateway_url=values["ws_gateway_url"],
        gateway_http_url=values["ws_gateway_http_url"].rstrip("/"),
        gateway_config=_path(config, values["ws_gateway_config"]),
        network=cast('Literal["auto", "tcp", "sim"]', values["ws_network"]),
        seeds=_whole("ws_seeds", values, given, least=1),
        seed=_whole("ws_seed", values, given, least=0),
        bench=_bench(config, values["ws_bench"]),
        builds=tuple(config.invocation_params.dir / path for path in values["ws_build"].split(",") if path),
        faulty=values["ws_faulty"],
        artifacts=_path(config, values["ws_artifacts"]),
        timeline_seconds=_seconds(values["ws_timeline_seconds"], given),
        given=given,
    )


def _find(config: pytest.Config, setting: Setting) -> tuple[str, str]:
    asked: Any = config.getoption(setting.name)
    if asked is not None:
        return str(asked), "command line"
    if in_file := str(config.getini(setting.name)):
        return in_file, "configuration file"
    if in_environment := os.environ.get(setting.variable, ""):
        return in_environment, setting.variable
    return setting.default, ""


def _check(values: dict[str, str], given: dict[str, str]) -> None:
    url, http_url = values["ws_gateway_url"], values["ws_gateway_http_url"]
    if url and not url.startswith(("ws://", "wss://")):
        raise _wrong("ws_gateway_url", "an address that begins with ws:// or wss://", given)
    if http_url and not http_url.startswith("http://"):
        raise _wrong("ws_gateway_http_url", "an address that begins with http://", given)
    if values["ws_network"] not in NETWORKS:
        raise _wrong("ws_network", "auto, tcp or sim", given)
    if url and values["ws_network"] == "sim":
        raise pytest.UsageError("--ws-network sim cannot reach the gateway at --ws-gateway-url; use --ws-network tcp")
    if seeded := next((name for name in ("ws_seeds", "ws_seed") if values[name] and values["ws_network"] == "tcp"), ""):
        raise pytest.UsageError(f"--{seeded.replace('_', '-')} is for simulated tests; leave out --ws-network tcp")
    if url and values["ws_faulty"]:
        raise pytest.UsageError("--ws-faulty plants a defect in gateways of this package, not in --ws-gateway-url")


def _whole(name: str, values: dict[str, str], given: dict[str, str], least: int) -> int | None:
    value = values[name]
    if not value:
        return None
    if not (value.isascii() and value.isdecimal() and int(value) >= least):
        raise _wrong(name, f"a whole number, {least} or more", given)
    return int(value)


def _seconds(value: str, given: dict[str, str]) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise _wrong("ws_timeline_seconds", "a number of seconds above 0", given)
    return seconds


def _bench(config: pytest.Config, value: str) -> str:
    return value if not value or value.startswith("virtual:") else str(config.invocation_params.dir / value)


def _path(config: pytest.Config, value: str) -> Path | None:
    # relative to where pytest was called, as on any command line
    return config.invocation_params.dir / value if value else None


def _wrong(name: str, expected: str, given: dict[str, str]) -> pytest.UsageError:
    return pytest.UsageError(f"--{name.replace('_', '-')}: expected {expected}, got {given[name]}")
