"""What stands at which path of the HTTP port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from gateway.config import Config
from gateway.http.exchange import Handler, Request, RequestRefused, Response
from gateway.http.health import Health
from gateway.http.images import Images
from gateway.http.ota import Ota
from gateway.observe.clock import WallClock
from gateway.protocol.tokens import Issued


class Routes:
    """Finds the handler of a request; itself the handler of a listener.

    A path that ends in ``*`` stands for all paths that begin with what is before it. HEAD goes where GET goes.

    Args:
        table: handlers by path and method.
        ws_port: tells the port of the devices, to those that ask for a WebSocket here.
    """

    def __init__(self, table: Mapping[str, Mapping[str, Handler]], ws_port: Callable[[], int] | None = None) -> None:
        self._ws_port = ws_port
        self._exact = {path: methods for path, methods in table.items() if not path.endswith("*")}
        self._beginnings = {path[:-1]: methods for path, methods in table.items() if path.endswith("*")}

    async def __call__(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            RequestRefused: 404 or 405, or what the handler says.
        """
        methods = self._methods(request.path)
        if methods is None:
            raise RequestRefused(404, "not found" + self._hint(request))
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else list(methods)
            raise RequestRefused(405, "method not allowed" + self._hint(request), {"Allow": ", ".join(allowed)})
        return await handler(request)

    def _methods(self, path: str) -> Mapping[str, Handler] | None:
        if path in self._exact:
            return self._exact[path]
        for beginning, methods in self._beginnings.items():
            if path.startswith(beginning):
                return methods
        return None

    def _hint(self, request: Request) -> str:
        """Return where to go for those that took this port for the other one."""
        if self._ws_port is None or "websocket" not in request.headers.get("upgrade", "").lower():
            return ""
        return f"; devices connect on the WebSocket port, {self._ws_port()}"


def http_routes(
    config: Config,
    *,
    issued: Issued,
    wall_clock: WallClock,
    ws_port: Callable[[], int],
    is_draining: Callable[[], bool],
    not_ready: Callable[[], Sequence[str]],
    metrics: Callable[[], str],
    executor: Executor | None = None,
) -> Routes:
    """Build everything the HTTP port answers; see `Ota` and `Health` for the arguments.

    Raises:
        BadDeviceId: one of ``auth.allowed_devices`` is no device id.
    """
    images = Images(Path(config.ota.image_dir) if config.ota.image_dir else None, executor)
    ota = Ota(config, images, issued, wall_clock, ws_port, is_draining)
    health = Health(not_ready, metrics)
    return Routes(
        {
            "/healthz": {"GET": health.alive},
            "/readyz": {"GET": health.ready},
            "/metrics": {"GET": health.metrics},
            "/version": {"GET": health.version},
            **ota.routes(),
        },
        ws_port,
    )
