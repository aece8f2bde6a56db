"""Tests of `gateway.observe.logging`."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import timeit
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import LoggingConfig
from gateway.observe import events
from gateway.observe.logging import (
    EVENT_LOGGER,
    LINES,
    LINES_AT_ONCE,
    LINES_PER_SECOND,
    MESSAGE_CHARACTERS,
    JsonFormatter,
    LogObserver,
    TextFormatter,
    close,
    configure,
    flush,
    redact,
)

ROOT = Path(__file__).parents[2]
EVENTS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
TOKEN = "A" * 43 + ".1700000000"
DEVICE = "aa:bb:cc:dd:ee:ff"
SESSION = "0123456789abcdef0123456789abcdef"


class _Stream(io.StringIO):
    """A stream whose content is all that was logged so far."""

    def getvalue(self) -> str:
        assert flush(5)
        return super().getvalue()


@pytest.fixture
def stream(monkeypatch):
    """Return a stream for log lines; afterwards logging is as it was."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    root = logging.getLogger()
    loggers = [root, logging.getLogger("asyncio"), logging.getLogger("websockets"), logging.getLogger("py.warnings")]
    levels = [logger.level for logger in loggers]
    handlers = [list(logger.handlers) for logger in loggers]
    yield _Stream()
    close(1)
    logging.captureWarnings(False)
    for logger, level, kept in zip(loggers, levels, handlers, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = kept


def _record(message: object = "hello", *, name: str = "somebody", level: int = logging.INFO, **extra: object):
    record = logging.LogRecord(name, level, "file.py", 1, message, None, None)
    record.created = 1_700_000_000.1234
    vars(record).update(extra)
    return record


def _json(record: logging.LogRecord) -> dict[str, object]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


def _text(record: logging.LogRecord) -> str:
    return TextFormatter(clock_only=False, colours=False).format(record)


def _failure(message: str) -> logging.LogRecord:
    try:
        raise ValueError(message)
    except ValueError:
        return _record("it failed", exc_info=sys.exc_info())


# --- formatters -----------------------------------------------------------------------------------------------


def test_text_line_has_time_level_device_session_and_message():
    """A line for people shows the beginning of the session id, and a logger that is not ours."""
    about = {"device": DEVICE, "session": SESSION}

    assert _text(_record(name=EVENT_LOGGER, **about)) == (
        "2023-11-14T22:13:20.123Z INFO    aa:bb:cc:dd:ee:ff 01234567 hello"
    )
    assert _text(_record(name="asyncio", level=logging.WARNING, **about)) == (
        "2023-11-14T22:13:20.123Z WARNING aa:bb:cc:dd:ee:ff 01234567 asyncio: hello"
    )


@pytest.mark.parametrize("extra", [{}, {"device": "", "session": ""}])
def test_device_and_session_are_on_every_line(extra):
    """A line of somebody who knows of no devices has a dash for both."""
    assert re.search(r"INFO    -\s+-\s+somebody: hello$", _text(_record(**extra)))
    line = _json(_record(**extra))
    assert (line["device"], line["session"]) == ("-", "-")


def test_terminal_line_has_the_clock_only():
    """Somebody who is watching knows the date."""
    line = TextFormatter(clock_only=True, colours=False).format(_record())

    assert re.match(r"\d\d:\d\d:20\.123 INFO ", line)


@pytest.mark.parametrize(
    ("level", "colour"),
    [(logging.DEBUG, "2"), (logging.INFO, "32"), (logging.WARNING, "33"), (logging.ERROR, "31"), (35, None)],
)
def test_colours_are_around_the_level_only(level, colour):
    """Each level has its colour; without colours, there is no escape in the line."""
    coloured = TextFormatter(clock_only=True, colours=True).format(_record(level=level))

    name = f"{logging.getLevelName(level):<7}"
    assert (f" \x1b[{colour}m{name}\x1b[0m " if colour else f" {name} ") in coloured
    assert coloured.count("\x1b") == (2 if colour else 0)
    assert "\x1b" not in _text(_record(level=level))


def test_json_line_has_the_facts():
    """A line for machines has the whole session id, and the fields of its record."""
    record = _record(name=EVENT_LOGGER, device=DEVICE, session=SESSION, event="Left", facts={"code": 1, "ok": True})

    assert _json(record) == {
        "ts": "2023-11-14T22:13:20.123Z",
        "level": "INFO",
        "logger": "gateway.events",
        "message": "hello",
        "device": DEVICE,
        "session": SESSION,
        "event": "Left",
        "facts": {"code": 1, "ok": True},
    }


def test_json_line_takes_any_fact():
    """A value that JSON cannot hold is written as text, and the line is not lost."""
    facts = {"none": None, "bytes": b"x", "list": [1], "huge": 2**70, "nan": float("nan"), "half": "\ud800"}

    assert _json(_record(event="E", facts=facts))["facts"] == {
        "none": None,
        "bytes": "b'x'",
        "list": "[1]",
        "huge": str(2**70),
        "nan": None,
        "half": "\\ud800",
    }


def test_traceback_follows_indented_in_text():
    """The lines of a traceback cannot be taken for log lines."""
    lines = _text(_failure("bad\n2023-11-14T22:13:20.123Z INFO    - - forged \x1b[2J")).split("\n")

    assert lines[0].endswith("somebody: it failed")
    assert len(lines) > 3
    assert all(line.startswith("    ") for line in lines[1:])
    assert "forged \\x1b[2J" in lines[-1]


def test_traceback_is_a_field_in_json():
    """A machine gets the traceback in the same line."""
    line = _json(_failure("bad \x1b[2J"))

    assert str(line["exception"]).startswith("Traceback (most recent call last):\n")
    assert str(line["exception"]).endswith("\nValueError: bad \\x1b[2J")


def test_stack_is_shown_like_a_traceback():
    """What was asked for with `stack_info` is there."""
    assert _text(_record(stack_info="Stack:\n  here")).endswith("hello\n    Stack:\n      here")


def test_message_is_cut_short():
    """A message of the limit is whole, one of a character more is cut."""
    assert _json(_record("x" * MESSAGE_CHARACTERS))["message"] == "x" * MESSAGE_CHARACTERS
    assert _json(_record("x" * (MESSAGE_CHARACTERS + 1)))["message"] == "x" * MESSAGE_CHARACTERS + "…"


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_any_text_is_one_line(message, device, session):
    """Whatever a peer put into its ids or its text, a line stays a line."""
    record = _record("%s", device=device, session=session)
    record.args = (message,)

    assert _text(record).isprintable()
    line = _json(record)
    assert str(line["message"]).isprintable()
    assert str(line["device"]).isprintable()


# --- secrets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc.123", "Authorization: *** ***"),
        ("bearer abc", "bearer ***"),
        ("Bearer%20abc&device-id=1", "Bearer%20***&device-id=1"),
        ("BEARER+abc", "BEARER+***"),
        ("Bearer\nabc", "Bearer\n***"),
        ("/x/?token=abc&y=1", "/x/?token=***&y=1"),
        ("access_token = 'abc'", "access_token = '***'"),
        ("{'token': 'abc', 'a': 1}", "{'token': '***', 'a': 1}"),
        ('{"token":"abc"}', '{"token":"***"}'),
        ("?authorization=Bearer%20abc&x=1", "?authorization=***&x=1"),
        ("?authorization=abc", "?authorization=***"),
        (f"got {TOKEN}.", "got ***."),
        (f"got {TOKEN}", "got ***"),
        ("expected a token, got none", "expected a token, got none"),
        ("the bearer of bad news", "the bearer *** bad news"),
        ("A" * 44 + ".1700000000", "A" * 44 + ".1700000000"),
        ("", ""),
    ],
)
def test_tokens_are_masked(text, redacted):
    """What looks like a token is masked, in the forms it has in headers, URLs, mappings, and by itself."""
    assert redact(text) == redacted


@pytest.mark.parametrize("form", [_text, lambda record: JsonFormatter().format(record)], ids=["text", "json"])
def test_tokens_are_in_no_line(form):
    """Message, traceback and facts are all masked."""
    failure = _failure(f"Bearer {TOKEN}")
    failure.msg = "got %s"
    failure.args = (f"token={TOKEN}",)
    vars(failure).update(event="E", facts={"reason": f"authorization={TOKEN}"})

    line = form(failure)

    assert "AAAA" not in line
    assert "***" in line


def test_masking_takes_no_time_on_hostile_text():
    """No pattern looks at a text more than about once."""
    for text in ("a" * 200_000, "token" * 40_000, "bearer " * 30_000, "token =" + " " * 200_000):
        assert timeit.timeit(lambda text=text: redact(text), number=1) < 1.0


# --- configure ------------------------------------------------------------------------------------------------


def test_importing_changes_nothing():
    """The root logger is set up by `configure` only."""
    code = (
        "import logging; before = (logging.root.level, list(logging.root.handlers));"
        "import gateway.observe.logging; assert before == (logging.root.level, list(logging.root.handlers))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("form", "terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("text", False, False), ("json", True, True)],
)
def test_format_is_as_configured(stream, form, terminal, is_json):
    """`auto` is text on a terminal and JSON elsewhere; the others are what they say."""
    configure(LoggingConfig(format=form), stream, terminal)

    logging.getLogger("somebody").info("hello")

    assert stream.getvalue().startswith("{") == is_json
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_terminals_that_want_them(stream, monkeypatch, terminal, no_color, coloured):
    """Colours need a terminal, and NO_COLOR to be absent or empty."""
    monkeypatch.setenv("NO_COLOR", no_color)
    configure(LoggingConfig(format="text"), stream, terminal)

    logging.getLogger("somebody").info("hello")

    assert ("\x1b[" in stream.getvalue()) == coloured


def test_level_is_as_configured(stream):
    """What is below the level is not shown."""
    configure(LoggingConfig(level="WARNING"), stream, False)

    logging.getLogger("somebody").info("not shown")
    logging.getLogger("somebody").warning("shown")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_configuring_again_replaces_the_handler(stream):
    """Lines come once, in the new stream, and handlers of others stay."""
    others = logging.NullHandler()
    logging.getLogger().addHandler(others)
    first = io.StringIO()
    configure(LoggingConfig(), first, False)
    configure(LoggingConfig(), stream, False)

    logging.getLogger("somebody").info("hello")

    assert first.getvalue() == ""
    assert stream.getvalue().count("hello") == 1
    assert others in logging.getLogger().handlers


@pytest.mark.parametrize(
    ("level", "shown"), [("DEBUG", ["info", "error"]), ("INFO", ["info", "error"]), ("ERROR", ["error"])]
)
def test_frames_are_never_logged_by_libraries(stream, level, shown):
    """The websockets library writes what frames contain at DEBUG; its logger stays at INFO or above."""
    configure(LoggingConfig(level=level), stream, False)
    log = logging.getLogger("websockets.server")

    log.debug("< TEXT 'body'")
    log.info("info")
    log.error("error")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == shown


def test_warnings_are_log_lines(stream):
    """What `warnings.warn` says goes where everything else goes, on one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure(LoggingConfig(), stream, False)
        warnings.warn("an old name", DeprecationWarning, stacklevel=1)

    line = json.loads(stream.getvalue())
    assert (line["logger"], line["level"]) == ("py.warnings", "WARNING")
    assert "DeprecationWarning: an old name" in line["message"]


# --- records --------------------------------------------------------------------------------------------------


def test_every_record_has_a_line():
    """A new record must be given a level and a sentence."""
    assert set(LINES) | {events.Event} == set(EVENTS)


def _example(kind: type[events.Event]) -> events.Event:
    values = {"int": 7, "float": 1.5, "bool": True, "str": "text"}
    return kind(
        **{
            key: values[hint]
            for parent in kind.__mro__
            for key, hint in vars(parent).get("__annotations__", {}).items()
        }
    )


@pytest.mark.parametrize("kind", LINES, ids=lambda kind: kind.__name__)
def test_each_record_is_logged_at_its_level(stream, kind):
    """The sentence of a record fits its fields, and the facts are all of them but device and session."""
    configure(LoggingConfig(level="DEBUG"), stream, False)

    LogObserver()(_example(kind))

    line = json.loads(stream.getvalue())
    assert line["level"] == logging.getLevelName(LINES[kind][0])
    assert line["event"] == kind.__name__
    assert set(line["facts"]) == set(kind.__struct_fields__) - {"device", "session"}
    assert not set("{}") & set(line["message"])
    assert "True" not in line["message"]


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (events.PongSent, logging.DEBUG),
        (events.PingLimited, logging.DEBUG),
        (events.AudioFrameDropped, logging.DEBUG),
        (events.RetiredFrameDropped, logging.DEBUG),
        (events.AckIgnored, logging.DEBUG),
        (events.PeerFailed, logging.DEBUG),
        (events.PeerRedelivered, logging.DEBUG),
        (events.ModeChanged, logging.DEBUG),
        (events.SnippetsTaken, logging.DEBUG),
        (events.DictationEnded, logging.DEBUG),
        (events.SpeechEnded, logging.DEBUG),
        (events.HandshakeRefused, logging.INFO),
        (events.OtaRefused, logging.INFO),
        (events.ConnectionClosed, logging.INFO),
        (events.DeviceFlapping, logging.WARNING),
        (events.TaskFailed, logging.ERROR),
    ],
)
def test_levels_are_by_how_often_and_how_grave(kind, level):
    """What comes many times a second is DEBUG, what somebody should look at is WARNING or more."""
    assert LINES[kind][0] == level


def test_line_of_a_record_reads_as_a_sentence(stream):
    """The sentence has the facts in it, truth values as yes and no."""
    configure(LoggingConfig(format="text"), stream, False)
    observers = events.Observers([LogObserver()])

    observers.emit(
        events.ConnectionClosed(
            device=DEVICE, session=SESSION, code=4001, reason="replaced", by="gateway", seconds=12.34, aborted=True
        )
    )
    observers.emit(events.HandoverBegan(device=DEVICE, session=SESSION, told=False))

    first, second = stream.getvalue().splitlines()
    assert first.endswith(f"INFO    {DEVICE} 01234567 connection closed by gateway with 4001 after 12.3 s: replaced")
    assert second.endswith("the older one was told: no")


def test_percent_signs_and_braces_in_facts_are_text(stream):
    """A fact is put into its sentence as it is."""
    configure(LoggingConfig(), stream, False)

    LogObserver()(events.HandshakeRefused(status=400, reason="100%s {status}", address="%d"))

    assert json.loads(stream.getvalue())["message"] == "handshake from %d refused with 400: 100%s {status}"


def test_records_of_applications_are_logged_by_their_name(stream):
    """A record that no table knows is a DEBUG line with its facts."""

    class LampSwitched(events.Event, frozen=True):
        """Somebody's own record."""

        on: bool

    configure(LoggingConfig(level="DEBUG"), stream, False)

    LogObserver()(LampSwitched(device=DEVICE, on=True))

    line = json.loads(stream.getvalue())
    assert (line["level"], line["message"], line["facts"]) == ("DEBUG", "LampSwitched", {"on": True})


def test_record_below_the_level_is_not_formatted(stream, monkeypatch):
    """A filtered record is not even taken apart."""
    configure(LoggingConfig(level="INFO"), stream, False)
    observe = LogObserver()
    monkeypatch.setattr("msgspec.structs.asdict", lambda _event: pytest.fail("taken apart"))

    observe(events.PongSent(device=DEVICE))

    assert stream.getvalue() == ""


def _refused(reason: str = "no") -> events.HandshakeRefused:
    return events.HandshakeRefused(status=400, reason=reason, address="192.0.2.1")


def _messages(stream: io.StringIO) -> list[str]:
    return [json.loads(line)["message"] for line in stream.getvalue().splitlines()]


def test_peers_do_not_decide_how_much_is_logged(stream):
    """Each kind of record has its own budget; what was left out is told with its next line, and at the end."""
    configure(LoggingConfig(), stream, False)
    now = 1000.0
    observe = LogObserver(lambda: now)
    for _ in range(LINES_AT_ONCE + 7):
        observe(_refused())
    assert len(_messages(stream)) == LINES_AT_ONCE
    observe(events.DeviceOffline(device=DEVICE))
    assert _messages(stream)[-1] == "offline"

    now += 1
    for _ in range(LINES_PER_SECOND + 5):
        observe(_refused())

    told = [message for message in _messages(stream) if "left out" in message]
    assert told == ["7 more lines of HandshakeRefused were left out: more than 20 a second"]
    assert len(_messages(stream)) == LINES_AT_ONCE + 1 + 1 + LINES_PER_SECOND
    observe(events.GatewayStopped(seconds=5.0, clean=True))
    assert _messages(stream)[-2:] == [
        "5 more lines of HandshakeRefused were left out: more than 20 a second",
        "stopped after 5.0 s, clean: yes",
    ]


def test_nothing_is_left_out_at_debug(stream):
    """Somebody who asked for everything gets it."""
    configure(LoggingConfig(level="DEBUG"), stream, False)
    observe = LogObserver(lambda: 0.0)

    for _ in range(LINES_AT_ONCE + 7):
        observe(_refused())

    assert len(_messages(stream)) == LINES_AT_ONCE + 7


def test_gateway_that_never_ran_does_not_stop(stream):
    """After a start that failed there is no line that says that all went well."""
    configure(LoggingConfig(), stream, False)

    LogObserver()(events.GatewayStopped(seconds=0.0, clean=True))

    assert stream.getvalue() == ""


def test_line_that_cannot_be_made_is_told_of(stream):
    """An object that cannot show itself costs its line, and harms nobody who logs."""
    configure(LoggingConfig(), stream, False)

    record = _record("%d")
    record.args = ("not a number",)
    logging.getLogger().handlers[-1].handle(record)  # pytest's own handlers would raise

    assert _messages(stream) == ["a line of somebody could not be made: TypeError"]


def test_nothing_after_close(stream):
    """What is logged after the end goes nowhere, and the stream may be closed."""
    configure(LoggingConfig(), stream, False)
    logging.getLogger("somebody").info("before")
    assert close(5)
    assert stream.getvalue().count("before") == 1

    stream.close()
    logging.getLogger("somebody").info("after")
    assert flush(5)
    assert close(5)
