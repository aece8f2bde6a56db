"""Requests, answers and refusals as values."""

from __future__ import annotations

import json

from gateway.http.exchange import RequestRefused, json_response, text_response


def test_a_json_answer_says_so() -> None:
    """JSON is compact, typed, and takes further headers."""
    response = json_response({"a": 1}, 202, {"X": "y"})
    assert (response.status, response.body) == (202, b'{"a":1}')
    assert response.headers == {"Content-Type": "application/json", "X": "y"}


def test_a_text_answer_is_utf8() -> None:
    """Text goes out as UTF-8 and says so."""
    response = text_response("ü")
    assert (response.status, response.body) == (200, "ü".encode())
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_refusal_is_a_json_error() -> None:
    """A refusal carries the answer to give, and says in words what it is."""
    refusal = RequestRefused(405, "method not allowed", {"Allow": "GET"})
    response = refusal.response()
    assert response.status == 405
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {"error": "method not allowed"}
    assert response.headers["Allow"] == "GET"
    assert str(refusal) == "request refused with 405 Method Not Allowed: method not allowed"
