"""Benches for tests."""

from __future__ import annotations

from harness.bench.bench_file import Bench, BoardConfig, ConsoleConfig, NetworkConfig


def a_board(number=1, chip="esp32s3", caps=(), **others):
    """Make a board ``b1``, ``b2`` ..."""
    given = {"id": f"b{number}", "chip": chip, "mac": f"24:6f:28:aa:bb:{number:02x}", "caps": tuple(caps)}
    return BoardConfig(**given | {"console": ConsoleConfig(url=f"rfc2217://rig:{4000 + number}")} | others)


def a_bench(directory, *boards):
    """Make a bench whose files are below a directory."""
    boards = boards or tuple(a_board(number) for number in (1, 2))
    return Bench("lab", str(directory / "locks"), str(directory / "state"), NetworkConfig(), boards, "bench.toml")
