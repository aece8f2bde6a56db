"""Probes, metrics, version."""

from __future__ import annotations

import json
import platform

import websockets

import gateway
from gateway.http.exchange import Request, Response
from gateway.http.health import Health

ASKED = Request("GET", "/")


def content(response: Response) -> dict:
    """Read the JSON of an answer."""
    assert response.headers["Content-Type"] == "application/json"
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


async def test_the_process_is_alive_whatever_else_is_wrong() -> None:
    """Liveness does not depend on readiness."""
    response = await Health(lambda: ["everything is broken"], str).alive(ASKED)
    assert (response.status, content(response)) == (200, {"status": "ok"})


async def test_readiness_follows_the_reasons() -> None:
    """200 without a reason, 503 with all of them, asked anew each time."""
    reasons = ["starting"]
    health = Health(lambda: tuple(reasons), str)
    response = await health.ready(ASKED)
    assert response.status == 503
    assert content(response) == {"status": "not ready", "reasons": ["starting"]}
    reasons.clear()
    response = await health.ready(ASKED)
    assert (response.status, content(response)) == (200, {"status": "ready"})


async def test_metrics_are_prometheus_text() -> None:
    """The text goes out as it is, with the content type scrapers look for."""
    response = await Health(list, lambda: "wsdevice_connections 1\n").metrics(ASKED)
    assert (response.status, response.body) == (200, b"wsdevice_connections 1\n")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_the_version_names_what_a_bug_report_needs() -> None:
    """Gateway, Python and websockets."""
    assert content(await Health(list, str).version(ASKED)) == {
        "version": gateway.__version__,
        "python": platform.python_version(),
        "websockets": websockets.__version__,
    }
