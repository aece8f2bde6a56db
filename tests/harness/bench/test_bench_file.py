"""The structs of a bench: passed between processes, and asked for boards and passwords."""

from __future__ import annotations

import pytest

from harness.bench.bench_file import Bench, BoardConfig, NetworkConfig, from_json, plain_mac, to_json
from harness.bench.errors import BenchIncomplete, NoSuchBoard

REAL = BoardConfig(id="real", chip="esp32", mac="24:6f:28:aa:bb:01", caps=("wifi",))
VIRTUAL = BoardConfig(id="v", chip="esp32c3", mac="24:6f:28:aa:bb:02", virtual=True, control="127.0.0.1:1")


def bench(*boards, **network):
    """Make a bench of boards."""
    return Bench("lab", "/locks", "/state", NetworkConfig(**network), boards, "bench.toml")


def test_round_trip():
    """Another process reads the same bench."""
    whole = bench(REAL, VIRTUAL, ssid="lab", virtual_psk="made up")

    assert from_json(to_json(whole)) == whole


def test_virtual():
    """One board of silicon makes a bench a real one."""
    assert bench(VIRTUAL).virtual
    assert not bench(VIRTUAL, REAL).virtual


def test_board():
    """A board is found by its id; another id is answered with those there are."""
    assert bench(REAL, VIRTUAL).board("v") is VIRTUAL
    with pytest.raises(NoSuchBoard, match="expected one of the boards real, v, got 'w'"):
        bench(REAL, VIRTUAL).board("w")


def test_psk():
    """The password comes from the variable, or is that of the virtual access point; an open network has none."""
    assert NetworkConfig(ssid="lab", psk_env="LAB_PSK").psk({"LAB_PSK": "hunter22"}) == "hunter22"
    assert NetworkConfig(virtual_psk="made up").psk({}) == "made up"
    assert NetworkConfig(ssid="lab").psk({}) == ""


def test_psk_not_set():
    """What is missing is named: the variable, and who asked for it."""
    with pytest.raises(BenchIncomplete, match="'lab' in the environment variable LAB_PSK, which"):
        NetworkConfig(ssid="lab", psk_env="LAB_PSK").psk({"LAB_PSK": ""})


def test_plain_mac():
    """However a MAC is written, it compares equal."""
    assert plain_mac(" 24-6F-28-AA-BB-CC ") == "24:6f:28:aa:bb:cc"
