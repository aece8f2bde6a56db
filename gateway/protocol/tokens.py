"""The device token: minted with the OTA answer, shown when the device connects.

A token is ``base64url(HMAC-SHA256(key, "<client id>|<device id>|<ts>"))`` without padding, ``.``, and ``ts``, the whole
seconds since 1970 at which it was minted: the form of xiaozhi-esp32-server, so tokens of one are good at the other.
It carries no ids: it is proof only together with the Client-Id and Device-Id that are sent beside it.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from gateway.config import AuthConfig
from gateway.errors import Misuse
from gateway.identity import DeviceId
from gateway.protocol.handshake import TokenVerdict, VerifyToken
from gateway.protocol.limits import TOKEN_LIFE, TOKEN_SKEW

ISSUED_TOKENS = 20_000
"""How many tokens `Issued` remembers: well past the 12,000 connections a gateway takes, for about 5 MB."""

_TOKEN = re.compile(r"([A-Za-z0-9_-]{43})\.([0-9]{1,12})", re.ASCII)  # 43 characters are 32 bytes


class Issued:
    """Which device each of the latest tokens was minted for, so that a stolen token is told from a wrong one.

    The signature cannot be inverted, so a token alone does not say whose it is. This register does, for the last
    ``size`` tokens this process has minted or looked up; when it is full the one not used for longest is forgotten.
    A forgotten token of another device is merely `TokenVerdict.BAD`: refused all the same, with 401 instead of 403.
    Only digests are kept.
    """

    def __init__(self, size: int = ISSUED_TOKENS) -> None:
        self._size = size
        self._devices: OrderedDict[bytes, DeviceId] = OrderedDict()

    def add(self, token: str, device: DeviceId) -> None:
        """Remember a token that was just minted."""
        digest = _digest(token)
        self._devices[digest] = device
        self._devices.move_to_end(digest)
        if len(self._devices) > self._size:
            self._devices.popitem(last=False)

    def device_of(self, token: str) -> DeviceId | None:
        """Return the device a token was minted for, None where that is not known."""
        digest = _digest(token)
        if digest in self._devices:
            self._devices.move_to_end(digest)
        return self._devices.get(digest)


def mint(key: str, client_id: str, device: DeviceId, now: float) -> str:
    """Make a token for a device, dated ``now`` (seconds since 1970).

    Raises:
        Misuse: the key is empty, or the client id has a ``|``, which would make the signed text ambiguous.
    """
    if not key:
        raise Misuse("expected a key to sign tokens with, got an empty one")
    if "|" in client_id:
        raise Misuse("expected a client id without '|'")
    ts = str(int(now))
    return f"{_signature(key, client_id, device, ts)}.{ts}"


def verify(
    key: str,
    token: str,
    client_id: str,
    device: DeviceId,
    now: float,
    *,
    life: float = TOKEN_LIFE,
    skew: float = TOKEN_SKEW,
    issued: Issued | None = None,
) -> TokenVerdict:
    """Tell what a token is worth; takes any text and never raises for what a peer has sent.

    The signature is compared in constant time and before the date, so that nobody learns anything about a token
    that is not ours.

    Args:
        key: the secret tokens are signed with.
        token: as it was sent, without ``Bearer``.
        client_id: the Client-Id sent with it, empty where there was none.
        device: the device that shows it.
        now: seconds since 1970.
        life: seconds a token is good for.
        skew: seconds a token may be dated ahead of ``now``.
        issued: where given, a token that was minted for another device is `TokenVerdict.OTHER_DEVICE`.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        return TokenVerdict.BAD
    signature, ts = match.groups()
    signed = hmac.compare_digest(_signature(key, client_id, device, ts), signature)
    if not key or "|" in client_id or not signed:
        owner = issued.device_of(token) if issued is not None else None
        return TokenVerdict.BAD if owner in {None, device} else TokenVerdict.OTHER_DEVICE
    age = now - int(ts)
    if age > life:
        return TokenVerdict.EXPIRED
    return TokenVerdict.FUTURE if age < -skew else TokenVerdict.VALID


def verifier(auth: AuthConfig, issued: Issued, wall_clock: Callable[[], float]) -> VerifyToken:
    """Return `verify` with everything but token, client id and device filled in, as the handshake wants it."""

    def verify_token(token: str, client_id: str, device: DeviceId) -> TokenVerdict:
        life, skew = auth.token_life, auth.token_skew
        return verify(auth.key, token, client_id, device, wall_clock(), life=life, skew=skew, issued=issued)

    return verify_token


def _signature(key: str, client_id: str, device: str, ts: str) -> str:
    # surrogatepass: ids come from peers and may hold lone surrogates, which plain UTF-8 refuses with an exception
    text = f"{client_id}|{device}|{ts}".encode("utf-8", "surrogatepass")
    return urlsafe_b64encode(hmac.digest(key.encode(), text, "sha256")).rstrip(b"=").decode("ascii")


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
