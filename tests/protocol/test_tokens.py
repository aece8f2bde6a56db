"""Tokens: what they look like, what they are worth, and that no text of a peer's can upset them."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import AuthConfig
from gateway.errors import Misuse
from gateway.identity import device_id
from gateway.protocol.handshake import TokenVerdict
from gateway.protocol.limits import TOKEN_LIFE, TOKEN_SKEW
from gateway.protocol.tokens import Issued, mint, verifier, verify

KEY = "a secret of sixteen"
CLIENT = "2b1c6bb2-4e1d-4b0f-9a3e-0d3c2c7f0a55"
DEVICE = device_id("d8:3b:da:00:11:22")
OTHER = device_id("d8:3b:da:00:11:33")
NOW = 1_700_000_000.75


def test_a_token_has_the_form_of_the_original_server() -> None:
    """It is the unpadded base64url of the HMAC over client, device and whole seconds, a dot, and the seconds."""
    digest = hmac.new(KEY.encode(), f"{CLIENT}|{DEVICE}|1700000000".encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert mint(KEY, CLIENT, DEVICE, NOW) == f"{signature}.1700000000"


def test_a_token_is_valid_for_its_own_ids() -> None:
    """What was minted is valid at once."""
    assert verify(KEY, mint(KEY, CLIENT, DEVICE, NOW), CLIENT, DEVICE, NOW) is TokenVerdict.VALID


def test_a_client_without_id_can_have_a_token() -> None:
    """The Client-Id is optional; the empty one is signed as such."""
    token = mint(KEY, "", DEVICE, NOW)
    assert verify(KEY, token, "", DEVICE, NOW) is TokenVerdict.VALID
    assert verify(KEY, token, CLIENT, DEVICE, NOW) is TokenVerdict.BAD


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (TOKEN_LIFE, TokenVerdict.VALID),
        (TOKEN_LIFE + 1, TokenVerdict.EXPIRED),
        (-TOKEN_SKEW, TokenVerdict.VALID),
        (-TOKEN_SKEW - 1, TokenVerdict.FUTURE),
    ],
)
def test_life_and_skew_have_edges(age: float, verdict: TokenVerdict) -> None:
    """A token is good up to its life and its skew, and not a second longer."""
    minted = 1_700_000_000
    token = mint(KEY, CLIENT, DEVICE, minted)
    assert verify(KEY, token, CLIENT, DEVICE, minted + age) is verdict


def test_life_and_skew_can_be_set() -> None:
    """The configured life and skew count, not the defaults."""
    token = mint(KEY, CLIENT, DEVICE, 1000)
    assert verify(KEY, token, CLIENT, DEVICE, 1011, life=10) is TokenVerdict.EXPIRED
    assert verify(KEY, token, CLIENT, DEVICE, 999, skew=0) is TokenVerdict.FUTURE


@pytest.mark.parametrize(
    ("key", "client", "device"), [("another secret here", CLIENT, DEVICE), (KEY, "x", DEVICE), (KEY, CLIENT, OTHER)]
)
def test_a_token_is_bad_for_anything_else(key: str, client: str, device: str) -> None:
    """Another key, client or device makes it bad."""
    assert verify(key, mint(KEY, CLIENT, DEVICE, NOW), client, device_id(device), NOW) is TokenVerdict.BAD


def test_the_signature_is_judged_before_the_date() -> None:
    """A forged token that is old as well is bad, not expired: its date says nothing."""
    forged = "A" * 43 + ".1"
    assert verify(KEY, forged, CLIENT, DEVICE, NOW) is TokenVerdict.BAD


def test_every_single_changed_character_is_noticed() -> None:
    """No character of a token can be changed, not even the last one, which holds bits that base64 ignores."""
    token = mint(KEY, CLIENT, DEVICE, NOW)
    for position, character in enumerate(token):
        changed = token[:position] + ("B" if character == "A" else "A") + token[position + 1 :]
        assert verify(KEY, changed, CLIENT, DEVICE, NOW) is TokenVerdict.BAD


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "A" * 43,
        "A" * 43 + ".",
        "A" * 42 + ".1",
        "A" * 44 + ".1",
        "A" * 43 + ".-1",
        "A" * 43 + ".01",
        "A" * 43 + ".1.5",
        "A" * 43 + ".1\n",
        "A" * 43 + ".１",
        "A" * 43 + "." + "9" * 13,
        "é" * 43 + ".1",
        "Bearer " + "A" * 43 + ".1",
    ],
)
def test_what_has_not_the_form_is_bad(text: str) -> None:
    """Anything but 43 characters, a dot and plain digits is bad."""
    assert verify(KEY, text, CLIENT, DEVICE, NOW) is TokenVerdict.BAD


@pytest.mark.parametrize("form", ["Bearer {}", " {}", "{} ", "{}\n", "{}0", "{}.1", "0{}", "{}{}"])
def test_nothing_may_stand_around_a_token(form: str) -> None:
    """A valid token with anything before or behind it is bad."""
    token = mint(KEY, CLIENT, DEVICE, NOW)
    assert verify(KEY, form.format(token, token), CLIENT, DEVICE, NOW) is TokenVerdict.BAD


def test_the_date_has_one_spelling() -> None:
    """The date is signed as it is written: a leading zero makes another token of it."""
    signature, _, ts = mint(KEY, CLIENT, DEVICE, NOW).partition(".")
    assert verify(KEY, f"{signature}.0{ts}", CLIENT, DEVICE, NOW) is TokenVerdict.BAD


def test_a_bar_cannot_move_between_the_ids() -> None:
    """A client id with the separator in it is never signed and never accepted: 'a|b' and 'c' would be 'a' and 'b|c'."""
    with pytest.raises(Misuse):
        mint(KEY, "a|b", device_id("c"), NOW)
    token = mint(KEY, "a", device_id("b|c"), NOW)
    assert verify(KEY, token, "a|b", device_id("c"), NOW) is TokenVerdict.BAD


def test_there_is_no_token_without_a_key() -> None:
    """An empty key neither signs nor verifies: anybody could sign with it."""
    with pytest.raises(Misuse):
        mint("", CLIENT, DEVICE, NOW)
    signature = hmac.digest(b"", f"{CLIENT}|{DEVICE}|1700000000".encode(), "sha256")
    token = base64.urlsafe_b64encode(signature).decode().rstrip("=") + ".1700000000"
    assert verify("", token, CLIENT, DEVICE, NOW) is TokenVerdict.BAD


_junk = st.text() | st.text(alphabet=st.characters(categories=["Cs", "Nd", "Cc"]))
_shaped = st.from_regex(r"[A-Za-z0-9_-]{43}\.[0-9]{1,12}", fullmatch=True)


@settings(deadline=None)
@given(token=_junk | _shaped, client=_junk, device=_junk, now=st.floats(allow_nan=False))
def test_no_text_makes_verification_raise(token: str, client: str, device: str, now: float) -> None:
    """Whatever is sent, the verdict is one of those that keep out."""
    verdict = verify(KEY, token, client, device, now, issued=Issued())  # type: ignore[arg-type]
    assert verdict is TokenVerdict.BAD


@settings(deadline=None)
@given(
    client=_junk.filter(lambda text: "|" not in text),
    device=_junk,
    now=st.floats(0, 10**11),
    later=st.floats(0, TOKEN_LIFE - 1),
)
def test_whatever_is_minted_is_valid(client: str, device: str, now: float, later: float) -> None:
    """Any ids at any time give a token that is valid for exactly them during its life."""
    token = mint(KEY, client, device, now)  # type: ignore[arg-type]
    assert verify(KEY, token, client, device, now + later) is TokenVerdict.VALID  # type: ignore[arg-type]


# --- the register -------------------------------------------------------------------------------------------------


def test_a_token_of_another_device_is_told_apart() -> None:
    """With the register, another device's token is told from a wrong one."""
    issued = Issued()
    token = mint(KEY, CLIENT, OTHER, NOW)
    assert verify(KEY, token, CLIENT, DEVICE, NOW, issued=issued) is TokenVerdict.BAD
    issued.add(token, OTHER)
    assert verify(KEY, token, CLIENT, DEVICE, NOW, issued=issued) is TokenVerdict.OTHER_DEVICE


def test_an_own_token_with_another_client_id_is_bad() -> None:
    """The register knows devices only: the right device with a wrong Client-Id shows a bad token."""
    issued = Issued()
    token = mint(KEY, CLIENT, DEVICE, NOW)
    issued.add(token, DEVICE)
    assert verify(KEY, token, "another", DEVICE, NOW, issued=issued) is TokenVerdict.BAD


def test_the_register_never_makes_a_token_valid() -> None:
    """What the register says counts only for tokens that are refused anyhow."""
    issued = Issued()
    forged = "A" * 43 + ".1"
    issued.add(forged, DEVICE)
    assert verify(KEY, forged, CLIENT, DEVICE, NOW, issued=issued) is TokenVerdict.BAD


def test_the_register_is_bounded() -> None:
    """Past its size the token that was not used for longest is forgotten."""
    issued = Issued(size=2)
    issued.add("first", DEVICE)
    issued.add("second", DEVICE)
    assert issued.device_of("first") == DEVICE
    issued.add("third", OTHER)
    assert issued.device_of("second") is None
    assert (issued.device_of("first"), issued.device_of("third")) == (DEVICE, OTHER)


def test_looking_up_what_is_not_there_keeps_nothing() -> None:
    """Wrong tokens, of which a peer can send any number, leave no trace."""
    issued = Issued()
    assert issued.device_of("\ud800 never seen") is None
    assert not issued._devices


def test_the_verifier_takes_key_life_and_skew_from_the_configuration() -> None:
    """What the handshake calls judges by the configured key, life and skew, at the present time."""
    auth = AuthConfig(key=KEY, token_life=10, token_skew=2)
    now = 1000.0
    verify_token = verifier(auth, Issued(), lambda: now)
    token = mint(KEY, CLIENT, DEVICE, now)
    assert verify_token(token, CLIENT, DEVICE) is TokenVerdict.VALID
    assert verify_token(token, CLIENT, OTHER) is TokenVerdict.BAD
    now = 1011.0
    assert verify_token(token, CLIENT, DEVICE) is TokenVerdict.EXPIRED
    now = 997.0
    assert verify_token(token, CLIENT, DEVICE) is TokenVerdict.FUTURE


def test_the_verifier_knows_what_was_issued() -> None:
    """A token from the register is told apart from a wrong one."""
    issued = Issued()
    token = mint(KEY, CLIENT, OTHER, NOW)
    issued.add(token, OTHER)
    verify_token = verifier(AuthConfig(key=KEY), issued, lambda: NOW)
    assert verify_token(token, CLIENT, DEVICE) is TokenVerdict.OTHER_DEVICE
