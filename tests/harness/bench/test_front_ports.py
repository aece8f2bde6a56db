"""The ports that boards were told last."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.bench.errors import HistoryFailed
from harness.bench.front import Front
from harness.bench.front_ports import FrontPorts, remember, remembered


def test_remembered(tmp_path: Path):
    """They are kept for each board, the last ones; of a board that nobody has told anything there are none."""
    remember(tmp_path / "state", "b1", FrontPorts(4001, 4002))
    remember(tmp_path / "state", "b1", FrontPorts(5001, 5002))

    assert remembered(tmp_path / "state", "b1") == FrontPorts(5001, 5002)
    assert remembered(tmp_path / "state", "b2") == FrontPorts()
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["b1.front.json"]


@pytest.mark.parametrize("found", [b"", b"nonsense", b'{"websocket":"x"}', b'{"websocket":65536}', b'{"http":-1}'])
def test_what_cannot_be_read(tmp_path: Path, found: bytes):
    """A file that was cut, or has what no port is, is as good as none."""
    remember(tmp_path, "b1", FrontPorts(4001, 4002))
    (tmp_path / "b1.front.json").write_bytes(found)

    assert remembered(tmp_path, "b1") == FrontPorts()


def test_what_cannot_be_written(tmp_path: Path):
    """The file is named, with the setting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(HistoryFailed, match=r"file/b1\.front\.json: .*File exists; state_dir of the bench file"):
        remember(tmp_path / "file", "b1", FrontPorts())


def test_a_front_has_the_ports_of_before(tmp_path: Path):
    """So the board's settings need not be written again."""
    with Front("127.0.0.1", tmp_path / "first") as front:
        ports = front.ports
    with Front("127.0.0.1", tmp_path / "second", ports=ports) as front:
        assert front.ports == ports


def test_ports_that_are_taken(tmp_path: Path):
    """Another run may have them; any others will do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with Front("127.0.0.1", tmp_path, ports=FrontPorts(taken, taken)) as front:
            assert taken not in (front.ports.websocket, front.ports.http)
