"""No token and no key in what is written; and nothing else is lost."""

from __future__ import annotations

import json

import pytest

from harness.redaction import MASK, Redactor

TOKEN = "x" * 43 + ".1700000000"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"?authorization=Bearer%20{TOKEN}&device-id=aa",
        f'{{"type":"x","websocket":{{"url":"ws://h","token":"{TOKEN}"}}}}',
        f'{{"wifi_password": "{TOKEN}"}}',
        f"WSDEVICE_AUTH_KEY={TOKEN}",
        f"auth_key = '{TOKEN}'",
        f"secret:{TOKEN}",
        f"a token as it is made: {TOKEN}",
    ],
)
def test_by_form_and_by_name(text: str):
    """What looks like a token, or is called one, is masked."""
    shown = Redactor()(text)

    assert TOKEN not in shown
    assert MASK in shown


def test_known():
    """What is known to be secret is masked wherever it stands, the longest first."""
    redactor = Redactor(["hunter2", "hunter2 and more"])
    redactor.add("wifi-pass")

    assert redactor("say hunter2 and more, hunter2, or wifi-pass!") == f"say {MASK}, {MASK}, or {MASK}!"


def test_short_ones_are_not_secrets():
    """An empty or a tiny secret would mask every text."""
    assert Redactor(["", "a", "12345"])("a 12345 b") == "a 12345 b"


@pytest.mark.parametrize(
    "text", ['{"type":"peer","to":["aa"],"payload":{"text":"tea"},"id":"m1"}', "tokens=3 monkey: 1"]
)
def test_nothing_else(text: str):
    """Other text stays as it is."""
    assert Redactor()(text) == text


def test_json_stays_readable():
    """A masked member ends where it ended: what stands behind it is still there."""
    shown = Redactor()(json.dumps({"token": 'a "quoted" one', "id": "m1"}))

    assert shown == f'{{"token": {MASK}, "id": "m1"}}'


def test_secrets_in_other_spellings():
    """A secret is masked as it stands in JSON, with or without escapes of letters, and in an address."""
    redactor = Redactor(['pa"ss wört/1'])

    assert redactor(json.dumps({"text": 'pa"ss wört/1'})) == '{"text": "***"}'
    assert redactor(json.dumps({"text": 'pa"ss wört/1'}, ensure_ascii=False)) == '{"text": "***"}'
    assert redactor("ws://host/?k=pa%22ss%20w%C3%B6rt%2F1") == "ws://host/?k=***"
    assert redactor("ws://host/?k=pa%22ss+w%C3%B6rt%2F1") == "ws://host/?k=***"
