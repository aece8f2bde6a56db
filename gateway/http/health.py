"""Is the gateway alive, is it ready, what does it count, which version is it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence

from websockets.version import version as websockets_version

from gateway import __version__
from gateway.http.exchange import Request, Response, json_response, text_response

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, the version that every scraper reads."""


class Health:
    """Answers for probes and scrapers; none of them tells anything about a device.

    Args:
        not_ready: returns why the gateway takes no devices now (starting, draining, mailbox failed); empty: it does.
        metrics: returns all metrics in Prometheus' text format.
    """

    def __init__(self, not_ready: Callable[[], Sequence[str]], metrics: Callable[[], str]) -> None:
        self._not_ready = not_ready
        self._metrics = metrics

    async def alive(self, _request: Request) -> Response:
        """Answer 200 for as long as the process can answer at all: restarting cures nothing else."""
        return json_response({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Answer 200, or 503 with the reasons."""
        reasons = list(self._not_ready())
        if reasons:
            return json_response({"status": "not ready", "reasons": reasons}, 503)
        return json_response({"status": "ready"})

    async def metrics(self, _request: Request) -> Response:
        """Answer with all metrics."""
        return text_response(self._metrics(), METRICS_CONTENT_TYPE)

    async def version(self, _request: Request) -> Response:
        """Answer with the versions a bug report needs."""
        return json_response(
            {"version": __version__, "python": platform.python_version(), "websockets": websockets_version}
        )
