"""What stands where, and the whole HTTP port over a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config import AuthConfig, Config, OtaConfig
from gateway.http.exchange import Request, RequestRefused, Response, text_response
from gateway.http.routes import Routes, http_routes
from gateway.identity import device_id
from gateway.protocol.handshake import TokenVerdict
from gateway.protocol.tokens import Issued, verifier
from tests.http.loopback import Serve
from tests.raw_peer import upgrade

NOW = 1_700_000_000.0


async def first(request: Request) -> Response:
    """Answer with its name and the method."""
    return text_response(f"first {request.method}")


async def second(_request: Request) -> Response:
    """Answer with its name."""
    return text_response("second")


ROUTES = Routes({"/a": {"GET": first, "POST": second}, "/post": {"POST": second}, "/b/*": {"GET": second}})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/a", b"first GET"),
        ("HEAD", "/a", b"first HEAD"),
        ("POST", "/a", b"second"),
        ("GET", "/b/", b"second"),
        ("GET", "/b/c/d", b"second"),
    ],
)
async def test_a_request_finds_its_handler(method: str, path: str, body: bytes) -> None:
    """By path and method, HEAD as GET."""
    assert (await ROUTES(Request(method, path))).body == body


@pytest.mark.parametrize("path", ["", "/", "/a/", "/A", "/b", "*", "/b*", "gw:80"])
async def test_an_unknown_path_is_404(path: str) -> None:
    """Paths are compared as they are."""
    with pytest.raises(RequestRefused) as caught:
        await ROUTES(Request("GET", path))
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/a", "GET, POST, HEAD"),
        ("get", "/a", "GET, POST, HEAD"),
        ("GET", "/post", "POST"),
        ("HEAD", "/post", "POST"),
    ],
)
async def test_another_method_is_405(method: str, path: str, allow: str) -> None:
    """Allow names those that there are."""
    with pytest.raises(RequestRefused) as caught:
        await ROUTES(Request(method, path))
    assert (caught.value.status, caught.value.headers) == (405, {"Allow": allow})


ASKS = {"upgrade": "WebSocket", "connection": "upgrade"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/xiaozhi/v1/", 404), ("GET", "/post", 405)])
async def test_a_device_on_the_wrong_port_is_told_the_right_one(method: str, path: str, status: int) -> None:
    """Who asks for a WebSocket learns where there is one; nobody else does."""
    routes = Routes({"/post": {"POST": second}}, lambda: 8000)
    for headers, told in ((ASKS, True), ({"upgrade": "h2c"}, False), ({}, False)):
        with pytest.raises(RequestRefused) as caught:
            await routes(Request(method, path, headers))
        assert caught.value.status == status
        assert caught.value.reason.endswith("; devices connect on the WebSocket port, 8000") is told


def gateway_routes(config: Config, issued: Issued) -> Routes:
    """Build the routes of a gateway that is starting."""
    return http_routes(
        config,
        issued=issued,
        wall_clock=lambda: NOW,
        ws_port=lambda: 8000,
        is_draining=lambda: False,
        not_ready=lambda: ["starting"],
        metrics=lambda: "wsdevice_up 1\n",
    )


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/readyz", 503), ("/metrics", 200), ("/version", 200), ("/nothing", 404)]
)
async def test_probes_have_their_paths(serve: Serve, path: str, status: int) -> None:
    """Each answers GET and HEAD alike."""
    served = await serve(gateway_routes(Config(), Issued()))
    async with await served.connect() as client:
        for method in ("GET", "HEAD"):
            await client.send(f"{method} {path} HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
            answer = await client.answer(method)
            assert answer.status == status
            assert (answer.body == b"") is (method == "HEAD")
            assert int(answer.headers["content-length"]) > 0


async def test_an_upgrade_on_the_http_port(serve: Serve) -> None:
    """The answer of the whole port to a device that was given the wrong one."""
    served = await serve(gateway_routes(Config(), Issued()))
    async with await served.connect() as client:
        await client.send(upgrade("/xiaozhi/v1/"))
        answer = await client.answer()
    assert answer.status == 404
    assert json.loads(answer.body) == {"error": "not found; devices connect on the WebSocket port, 8000"}


async def test_a_device_boots_updates_and_gets_in(serve: Serve, tmp_path: Path) -> None:
    """Ask, download what was offered, whole and in two parts, and show the token: the whole way of a stock device."""
    image = bytes(range(256)) * 4096
    (tmp_path / "esp-box-3_2.1.0.bin").write_bytes(image)
    auth = AuthConfig(enabled=True, key="a secret of sixteen")
    config = Config(auth=auth, ota=OtaConfig(image_dir=str(tmp_path)))
    issued = Issued()
    served = await serve(gateway_routes(config, issued))
    async with await served.connect() as client:
        body = b'{"application":{"version":"2.0.3"},"board":{"name":"esp-box-3"}}'
        head = "POST /xiaozhi/ota/ HTTP/1.1\r\nHost: localhost\r\nDevice-Id: d8:3b:da:00:11:22\r\nClient-Id: c\r\n"
        await client.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        told = json.loads((await client.answer("POST")).body)

        path = told["firmware"]["url"].removeprefix("http://localhost")
        await client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        whole = await client.answer()
        assert (whole.status, whole.body) == (200, image)

        half = len(image) // 2
        parts = []
        for part in (f"0-{half - 1}", f"{half}-"):
            lines = f"Range: bytes={part}\r\nIf-Range: {whole.headers['etag']}\r\n"
            await client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
            answer = await client.answer()
            assert answer.status == 206
            parts.append(answer.body)
        assert b"".join(parts) == image

        await client.send(f"GET {path} HTTP/1.1\r\nHost: gw\r\nRange: bytes={len(image)}-\r\n\r\n".encode())
        answer = await client.answer()
        assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(image)}")
    verify = verifier(auth, issued, lambda: NOW)
    token = told["websocket"]["token"]
    assert verify(token, "c", device_id("d8:3b:da:00:11:22")) is TokenVerdict.VALID
    assert verify(token, "c", device_id("another")) is TokenVerdict.OTHER_DEVICE
    assert [event.device for event in served.events][:2] == ["d8:3b:da:00:11:22", ""]


async def test_a_body_over_the_limit_never_reaches_the_endpoint(serve: Serve) -> None:
    """64 KiB and a byte is 413, as a JSON error."""
    served = await serve(gateway_routes(Config(), Issued()))
    async with await served.connect() as client:
        await client.send(b"POST /xiaozhi/ota/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 65537\r\n\r\n" + b" " * 65537)
        answer = await client.answer("POST")
    assert answer.status == 413
    assert "error" in json.loads(answer.body)
