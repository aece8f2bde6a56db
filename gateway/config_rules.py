"""What settings ask of each other, and of the machine the gateway runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.config import LOOPBACK_HOSTS, AuthConfig, Config
from gateway.config_reference import SETTINGS, shown
from gateway.identity import printable

KEY_CHARACTERS = 16
"""Least length of the secret that signs tokens: below it, a stolen token lets the secret be guessed offline."""
KEY_FILE_CHARACTERS = 4096
"""Most that is read of a key file; a secret is far shorter, and the path may name a device without end."""
PATH_CHARACTERS = 200
"""Of a path that are shown; a key file's path as long as this, or longer, is not."""


class Breach(NamedTuple):
    """A rule that does not hold; the first of ``keys`` is to blame, the others are what it stands on."""

    keys: tuple[str, ...]
    expected: str
    found: str = ""


def check(config: Config) -> tuple[Config, list[Breach]]:
    """Check every rule; return the configuration with the text of its key file as the key, and all breaches."""
    auth, broken = _with_key(config.auth)
    config = msgspec.structs.replace(config, auth=auth)
    return config, [*_server_breaches(config), *broken, *_auth_breaches(config), *_order_breaches(config)]


def _server_breaches(config: Config) -> Iterator[Breach]:
    for host in config.server.host:
        if not host.strip():
            yield Breach(("server.host",), "addresses or host names; for all addresses write 0.0.0.0 and ::", '""')
        elif "[" in host or (":" in host and not _is_address(host)):
            yield Breach(("server.host",), "an address or host name without port or brackets", shown(host))
    for path in config.server.paths:
        if not path.startswith("/"):
            yield Breach(("server.paths",), "paths that begin with a slash", shown(path))
    url = config.server.public_websocket_url
    if url and not url.startswith(("ws://", "wss://")):
        yield Breach(("server.public_websocket_url",), "a URL that begins with ws:// or wss://", shown(url))
    if (port := config.server.ws_port) and port == config.server.http_port:
        yield Breach(("server.http_port", "server.ws_port"), "another port than that of server.ws_port", str(port))
    if (path := config.server.state_dir) and not _may_be_directory(path):
        yield Breach(("server.state_dir",), "a directory", f"a file: {printable(path, PATH_CHARACTERS)}")
    if path := config.ota.image_dir:
        try:
            os.scandir(path).close()
        except (OSError, ValueError) as error:  # ValueError: a null in it
            yield Breach(
                ("ota.image_dir",), "a readable directory", f"{_reason(error)}: {printable(path, PATH_CHARACTERS)}"
            )


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip())
    except ValueError:
        return False
    return True


def _with_key(auth: AuthConfig) -> tuple[AuthConfig, list[Breach]]:
    """Return the section with the text of its key file as the key, and what is wrong with the two."""
    if not auth.key_file:
        return auth, []
    if auth.key:
        return auth, [Breach(("auth.key_file", "auth.key"), "only one of auth.key and auth.key_file")]
    try:
        with Path(auth.key_file).open(encoding="utf-8") as file:
            key = file.read(KEY_FILE_CHARACTERS).strip()
    except OSError as error:
        return auth, [Breach(("auth.key_file",), "a readable file", _with_path(_reason(error), auth.key_file))]
    except ValueError:  # not UTF-8, or a path with a null in it
        return auth, [Breach(("auth.key_file",), "a file with UTF-8 text", _with_path("another", auth.key_file))]
    if not key:
        return auth, [
            Breach(("auth.key_file",), "a file with a secret in it", _with_path("an empty one", auth.key_file))
        ]
    return msgspec.structs.replace(auth, key=key), []


def _may_be_directory(path: str) -> bool:
    """Tell whether a directory is there or could be made: nothing else stands at the path, or on the way to it."""
    place = path
    while place and not os.path.exists(place):  # noqa: PTH110 - never raises, as Path.exists does before Python 3.14
        place = os.path.dirname(place)  # noqa: PTH120 - ends with an empty text, not again and again with "."
    return not place or os.path.isdir(place)  # noqa: PTH112 - never raises


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _with_path(found: str, path: str) -> str:
    """Name the key file, too, unless it may be a secret that was put into the wrong setting."""
    if len(path) >= PATH_CHARACTERS or not path.isprintable() or "/" not in path:
        return found
    # A secret in Base64 has slashes as well; it does not begin with a directory that is there.
    beginning = Path(*Path(path).parts[: 2 if path.startswith("/") else 1])
    return f"{found}: {path}" if os.path.isdir(beginning) else found  # noqa: PTH112 - never raises


def _auth_breaches(config: Config) -> Iterator[Breach]:
    beyond = [host for host in config.server.host if host not in LOOPBACK_HOSTS]
    if config.auth.enabled is False and beyond:
        expected = "true, or only loopback addresses in server.host"
        yield Breach(("auth.enabled", "server.host"), expected, f"false with {shown(beyond[0])}")
    if config.auth.key:
        if len(config.auth.key) < KEY_CHARACTERS:
            yield Breach(("auth.key", "auth.key_file"), f"{KEY_CHARACTERS} characters or more")
    elif config.asks_for_tokens and not config.auth.key_file:
        expected = (
            f"a secret of {KEY_CHARACTERS} characters or more, since tokens are asked for; make one with: "
            'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
        yield Breach(("auth.key", "auth.key_file", "auth.enabled", "server.host"), expected, "none")


def _order_breaches(config: Config) -> Iterator[Breach]:
    for larger, smaller in (("peer.retry_max", "peer.retry_first"), ("handover.refusal_max", "handover.refusal")):
        most, least = _value(config, larger), _value(config, smaller)
        if most < least:
            yield Breach((larger, smaller), f"at least {smaller}, which is {least:g}", f"{most:g}")


def _value(config: Config, name: str) -> float:
    setting = SETTINGS[name]
    value: float = getattr(getattr(config, setting.section), setting.key)
    return value
