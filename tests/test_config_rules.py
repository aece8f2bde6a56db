"""Tests of `gateway.config_rules`."""

from __future__ import annotations

import msgspec
import pytest

from gateway.config import AuthConfig, Config, HandoverConfig, OtaConfig, PeerConfig, ServerConfig
from gateway.config_reference import in_toml
from gateway.config_rules import Breach, check

SECRET = "sixteen-letters!"
BEYOND = ServerConfig(host=["127.0.0.1", "10.0.0.1"])


def _breaches_of(**sections: msgspec.Struct) -> list[Breach]:
    return check(Config(**sections))[1]


def _keys_of(**sections: msgspec.Struct) -> list[str]:
    return [breach.keys[0] for breach in _breaches_of(**sections)]


def test_defaults_keep_every_rule():
    """What runs when nothing is configured is in order."""
    assert check(Config()) == (Config(), [])


# --- who may connect ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.local", "127.0.0.2", "LOCALHOST"])
def test_beyond_loopback_a_key_is_required(host):
    """An address that others can reach asks for tokens, so for a key; what cannot be told counts as such."""
    (breach,) = _breaches_of(server=ServerConfig(host=["::1", host]))

    assert breach.keys[0] == "auth.key"
    assert "secrets.token_urlsafe" in breach.expected


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_no_key_is_required(host):
    """Where only this machine can connect, tokens are not asked for."""
    assert _breaches_of(server=ServerConfig(host=[host])) == []


def test_tokens_asked_for_on_loopback_need_a_key():
    """Asking for tokens needs something to check them with, wherever the gateway listens."""
    assert _keys_of(auth=AuthConfig(enabled=True)) == ["auth.key"]
    assert _keys_of(auth=AuthConfig(enabled=True, key=SECRET)) == []


def test_open_gateway_beyond_loopback_is_refused():
    """Tokens cannot be switched off where others can connect, key or not."""
    (breach,) = _breaches_of(server=BEYOND, auth=AuthConfig(enabled=False))

    assert breach == Breach(
        ("auth.enabled", "server.host"), "true, or only loopback addresses in server.host", 'false with "10.0.0.1"'
    )
    assert _keys_of(server=BEYOND, auth=AuthConfig(enabled=False, key=SECRET)) == ["auth.enabled"]
    assert _keys_of(auth=AuthConfig(enabled=False)) == []


def test_key_has_sixteen_characters():
    """A key of 15 characters is refused even where tokens are not asked for; one of 16 will do."""
    assert _keys_of(server=BEYOND, auth=AuthConfig(key=SECRET)) == []
    assert _keys_of(server=BEYOND, auth=AuthConfig(key=SECRET[:15])) == ["auth.key"]
    assert _keys_of(auth=AuthConfig(key=SECRET[:15])) == ["auth.key"]


def test_key_file_becomes_the_key(tmp_path, monkeypatch):
    """The text of the file, without the white space around it, is the key; the path may be relative."""
    (tmp_path / "key").write_text(f" {SECRET}\n")
    monkeypatch.chdir(tmp_path)

    config, broken = check(Config(server=BEYOND, auth=AuthConfig(key_file="key")))

    assert (config.auth.key, broken) == (SECRET, [])


@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        (None, "a readable file", "No such file or directory: {path}"),
        (b"\xff\xff", "a file with UTF-8 text", "another: {path}"),
        (b" \n", "a file with a secret in it", "an empty one: {path}"),
        (b"x" * 15, "16 characters or more", ""),
    ],
)
def test_key_file_that_is_no_use_is_told_once(tmp_path, content, expected, found):
    """A missing, unreadable, empty or short key file is one breach, which names the file and shows no text."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    (breach,) = _breaches_of(server=BEYOND, auth=AuthConfig(key_file=str(path)))

    assert (breach.expected, breach.found) == (expected, found.format(path=path))
    assert "auth.key_file" in breach.keys


@pytest.mark.parametrize(
    "pasted",
    ["c2VjcmV0c2VjcmV0", "c2Vj/mV0+2VjcmV0", "/c2VjcmV0/2VjcmV0", "/tmp/" + "x" * 195, "/tmp/\x1b[31m", "./a/b", "tmp"],
)
def test_what_may_be_a_secret_is_not_shown(pasted, tmp_path, monkeypatch):
    """A secret that was pasted into the wrong setting is not told, nor anything that would not look well."""
    monkeypatch.chdir(tmp_path)
    (breach,) = _breaches_of(auth=AuthConfig(key_file=pasted))

    assert ":" not in breach.found


def test_relative_key_file_is_named(tmp_path, monkeypatch):
    """Where its directory is there, it is a path and no secret."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    (breach,) = _breaches_of(auth=AuthConfig(key_file="secrets/key"))

    assert breach.found == "No such file or directory: secrets/key"


def test_key_file_with_a_null_in_its_path_is_a_breach():
    """A path that no system takes is a breach like any other."""
    assert _keys_of(auth=AuthConfig(key_file="a\0b")) == ["auth.key_file"]


def test_key_and_key_file_exclude_each_other(tmp_path):
    """With both set it would be a guess which one is meant."""
    (tmp_path / "key").write_text(SECRET)

    (breach,) = _breaches_of(auth=AuthConfig(key=SECRET, key_file=str(tmp_path / "key")))

    assert breach.expected == "only one of auth.key and auth.key_file"


# --- the rest -------------------------------------------------------------------------------------------------


def test_longest_waits_are_not_shorter_than_the_first():
    """Equal is fine, a moment less is not."""
    assert _keys_of(peer=PeerConfig(retry_first=5, retry_max=5)) == []
    assert _keys_of(peer=PeerConfig(retry_first=5, retry_max=4.9)) == ["peer.retry_max"]
    assert _keys_of(handover=HandoverConfig(refusal=5, refusal_max=5)) == []
    assert _keys_of(handover=HandoverConfig(refusal=5, refusal_max=4.9)) == ["handover.refusal_max"]


def test_each_path_begins_with_a_slash():
    """Every path that does not is told."""
    broken = _breaches_of(server=ServerConfig(paths=["/", "xiaozhi", ""]))

    assert [breach.found for breach in broken] == ['"xiaozhi"', '""']


def test_hosts_are_not_empty():
    """An empty host, which systems take for all addresses, must be written out."""
    assert _keys_of(server=ServerConfig(host=[" "]), auth=AuthConfig(key=SECRET)) == ["server.host"]


@pytest.mark.parametrize("host", ["[::1]", "[::1]:8000", "127.0.0.1:9000", "localhost:9000", "[127.0.0.1]", ":9000"])
def test_hosts_have_neither_port_nor_brackets(host):
    """What an address looks like in a URL is told, and not looked up as a name."""
    (breach,) = _breaches_of(server=ServerConfig(host=["127.0.0.1", host]), auth=AuthConfig(key=SECRET))

    assert breach == Breach(("server.host",), "an address or host name without port or brackets", in_toml(host))


@pytest.mark.parametrize("host", ["fe80::1%eth0", "::ffff:10.0.0.1", "::", "gateway.local", "127.0.0.1"])
def test_addresses_are_hosts(host):
    """A bare address of either family is one, and so is a name."""
    assert _keys_of(server=ServerConfig(host=[host]), auth=AuthConfig(key=SECRET)) == []


@pytest.mark.parametrize(("url", "broken"), [("ws://a/", 0), ("wss://a/", 0), ("", 0), ("http://a/", 1), ("a:8000", 1)])
def test_public_url_is_a_websocket_url(url, broken):
    """Devices are told this URL as it is."""
    assert len(_breaches_of(server=ServerConfig(public_websocket_url=url))) == broken


def test_image_directory_exists(tmp_path):
    """A directory of firmware images must be there when it is set; a file is not one."""
    (tmp_path / "file").touch()

    assert _keys_of(ota=OtaConfig(image_dir=str(tmp_path))) == []
    assert _keys_of(ota=OtaConfig(image_dir=str(tmp_path / "file"))) == ["ota.image_dir"]
    assert _keys_of(ota=OtaConfig(image_dir="a\0b")) == ["ota.image_dir"]
    (breach,) = _breaches_of(ota=OtaConfig(image_dir=str(tmp_path / "none")))
    assert breach == Breach(
        ("ota.image_dir",), "a readable directory", f"No such file or directory: {tmp_path / 'none'}"
    )


def test_state_directory_is_no_file(tmp_path, monkeypatch):
    """A directory that is there or can be made is fine; a file, or a place below one, is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    for good in (str(tmp_path), str(tmp_path / "new" / "one"), "new", "."):
        assert _keys_of(server=ServerConfig(state_dir=good)) == []
    for bad in (str(tmp_path / "file"), str(tmp_path / "file" / "below"), "file"):
        (breach,) = _breaches_of(server=ServerConfig(state_dir=bad))
        assert breach == Breach(("server.state_dir",), "a directory", f"a file: {bad}")


def test_ports_differ():
    """Two listeners cannot have one port; two that the system chooses can both be 0."""
    assert _keys_of(server=ServerConfig(ws_port=0, http_port=0)) == []
    assert _breaches_of(server=ServerConfig(ws_port=9000, http_port=9000)) == [
        Breach(("server.http_port", "server.ws_port"), "another port than that of server.ws_port", "9000")
    ]


def test_all_breaches_are_told():
    """One broken rule does not hide another."""
    assert _keys_of(
        server=ServerConfig(host=["0.0.0.0"], paths=["x"]),
        auth=AuthConfig(enabled=False, key="short"),
        peer=PeerConfig(retry_first=5, retry_max=1),
    ) == ["server.paths", "auth.enabled", "auth.key", "peer.retry_max"]
