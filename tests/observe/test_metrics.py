"""Tests of `gateway.observe.metrics` and of the tables in `gateway.observe.counted`."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Misuse
from gateway.observe import events
from gateway.observe.counted import COUNTERS, GAUGES, NOT_COUNTED
from gateway.observe.metrics import Counter, LoopLag, Metrics, reference
from gateway.protocol.close_codes import CloseCode
from gateway.tasks import Tasks
from tests.virtual_time import hold, virtual_time

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
EVENTS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
LINE = re.compile(r'[a-z_]+(\{([a-z_]+="(\\[\\n"]|[^\\\n"])*",?)+\})? (NaN|[+-]Inf|-?[0-9.e+-]+)')


def _sample(page: str, name: str) -> str | None:
    found = re.search(rf"^{re.escape(name)} (.*)$", page, re.MULTILINE)
    return found[1] if found else None


def _example(kind: type[events.Event], **given: object) -> events.Event:
    """Make a record with plausible values in all its fields."""
    values = {"int": 7, "float": 1.5, "bool": True, "str": "text"}
    hints = {
        key: values[hint] for parent in kind.__mro__ for key, hint in vars(parent).get("__annotations__", {}).items()
    }
    return kind(**{**hints, **given})


# --- counters -------------------------------------------------------------------------------------------------


def test_plain_counter_begins_at_zero_and_grows():
    """A counter without labels is one line after its head."""
    counter = Counter("wsdevice_x_total", "Some x.")
    assert counter.lines() == [
        "# HELP wsdevice_x_total Some x.",
        "# TYPE wsdevice_x_total counter",
        "wsdevice_x_total 0",
    ]

    counter.add()
    counter.add(2)

    assert counter.lines()[2:] == ["wsdevice_x_total 3"]


def test_counter_of_one_label_shows_every_value_from_the_beginning():
    """What has not happened yet is 0, not missing."""
    counter = Counter("x", "X.", {"why": ("a", "b")})

    counter.add(values=("b",))

    assert counter.lines()[2:] == ['x{why="a"} 0', 'x{why="b"} 1']


def test_value_that_was_not_foreseen_is_counted_as_other():
    """A peer cannot make new time series."""
    counter = Counter("x", "X.", {"code": ("1000",), "by": ("peer",)})

    for code in range(2000, 2100):
        counter.add(values=(str(code), "peer"))
    counter.add(values=("1000", "me"))
    counter.add(values=("1000", "peer"))

    assert counter.lines()[2:] == [
        'x{code="other",by="peer"} 100',
        'x{code="1000",by="other"} 1',
        'x{code="1000",by="peer"} 1',
    ]


def test_text_is_escaped():
    """Backslash, quote and line end in a help text or label value cannot end it."""
    counter = Counter("x", 'a\\b\n"c"', {"why": ('a\\b\n"c"',)})

    assert counter.lines() == ['# HELP x a\\\\b\\n"c"', "# TYPE x counter", 'x{why="a\\\\b\\n\\"c\\""} 0']


@settings(deadline=None)
@given(st.text(), st.text(), st.floats(min_value=0, allow_nan=False))
def test_any_text_and_number_make_well_formed_lines(help_text, value, amount):
    """Whatever is in a help text or a label value, the page keeps its lines."""
    counter = Counter("x", help_text, {"why": (value,)})
    counter.add(amount, (value,))

    lines = counter.lines()

    assert all("\n" not in line for line in lines)
    assert LINE.fullmatch(lines[2]), lines[2]


# --- the observer ---------------------------------------------------------------------------------------------


def test_every_record_is_counted_or_known_not_to_be():
    """A new record must be put into the table, or into the list of those that are not counted."""
    counted = {count.event for count in COUNTERS}

    assert counted | set(NOT_COUNTED) | {events.Event} == set(EVENTS)
    assert not counted & set(NOT_COUNTED)


@pytest.mark.parametrize("counted", COUNTERS, ids=lambda counted: counted.name)
def test_each_counter_counts_its_record(counted):
    """A record of any values adds to its counter, under values that are listed or `other`."""
    metrics = Metrics()
    before = metrics.render()

    metrics(_example(counted.event))

    added = set(metrics.render().splitlines()) - set(before.splitlines())
    assert [line for line in added if line.startswith((counted.name + " ", counted.name + "{"))], added
    assert "text" not in "".join(added)


def test_names_follow_the_rule():
    """All names begin with our prefix, counters end with _total, and none is there twice."""
    names = [counted.name for counted in COUNTERS] + list(GAUGES)

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"wsdevice(_[a-z]+)+_total", counted.name) for counted in COUNTERS)
    assert all(re.fullmatch(r"wsdevice(_[a-z]+)+(?<!_total)", name) for name in GAUGES)


def test_no_label_is_an_id():
    """Labels are few and fixed; none carries a device, a session, a message or an address."""
    labels = {label.name for counted in COUNTERS for label in counted.labels}

    assert not labels & {"device", "session", "message", "sender", "address", "path", "id"}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.PongSent(device="a"), "wsdevice_pongs_sent_total"),
        (events.HandshakeRefused(status=401, reason="", address=""), 'wsdevice_handshakes_refused_total{status="401"}'),
        (
            events.HandshakeRefused(status=418, reason="", address=""),
            'wsdevice_handshakes_refused_total{status="other"}',
        ),
        (events.MessageRejected(code="BAD_JSON", reason=""), 'wsdevice_messages_rejected_total{code="BAD_JSON"}'),
        (events.MessageRejected(code="LAMP", reason=""), 'wsdevice_messages_rejected_total{code="other"}'),
        (events.AudioFrameDropped(why="lane_full"), 'wsdevice_audio_frames_dropped_total{why="lane_full"}'),
        (events.HandoverBegan(told=False), 'wsdevice_takeovers_total{told="false"}'),
        (
            events.PeerDelivered(message="m", sender="s", confirm="written", redelivered=True),
            'wsdevice_peer_delivered_total{confirm="written",redelivered="true"}',
        ),
        (events.AckIgnored(foreign=True), 'wsdevice_acks_ignored_total{foreign="true"}'),
    ],
)
def test_record_is_counted_under_its_labels(event, line):
    """The fields of a record choose the time series."""
    metrics = Metrics()

    metrics(event)

    assert _sample(metrics.render(), line) == "1"


@pytest.mark.parametrize(
    ("code", "by", "labels"),
    [
        (4001, "gateway", 'code="4001",reason="replaced",by="gateway"'),
        (1006, "peer", 'code="1006",reason="abnormal",by="peer"'),
        (4999, "peer", 'code="other",reason="other",by="peer"'),
        (0, "nobody", 'code="other",reason="other",by="other"'),
    ],
)
def test_closes_are_counted_by_code_reason_and_side(code, by, labels):
    """A code that the gateway never sends is `other`, whatever number the peer chose."""
    metrics = Metrics()

    metrics(events.ConnectionClosed(code=code, reason="x", by=by, seconds=2.5, aborted=False))
    metrics(events.ConnectionClosed(code=code, reason="y", by=by, seconds=0.5, aborted=True))

    page = metrics.render()
    assert _sample(page, f"wsdevice_connections_closed_total{{{labels}}}") == "2"
    assert _sample(page, "wsdevice_connections_aborted_total") == "1"
    assert _sample(page, "wsdevice_connection_seconds_total") == "3.0"


def test_every_close_code_is_listed():
    """No code of ours is counted as other."""
    metrics = Metrics()

    for code in CloseCode:
        metrics(events.ConnectionClosed(code=code, reason="", by="gateway", seconds=0.0, aborted=False))

    assert 'code="other"' not in metrics.render()


def test_amounts_are_added():
    """A record about several things counts as many."""
    metrics = Metrics()

    metrics(events.PeerLost(sender="s", kind="expired", reason="ttl", count=3))
    metrics(events.PeerLost(sender="s", kind="expired", reason="ttl", count=4))
    metrics(events.SnippetsTaken(taken=5, ignored=2))

    page = metrics.render()
    assert _sample(page, 'wsdevice_peer_lost_total{kind="expired",reason="ttl"}') == "7"
    assert _sample(page, "wsdevice_snippets_taken_total") == "5"
    assert _sample(page, "wsdevice_snippets_ignored_total") == "2"


def test_records_of_applications_are_passed_over():
    """A record that no table knows does no harm."""

    class LampSwitched(events.Event, frozen=True):
        """Somebody's own record."""

    metrics = Metrics()
    before = metrics.render()

    metrics(LampSwitched())

    assert metrics.render() == before


def test_metrics_are_an_observer():
    """The registry is added to the observers as it is."""
    metrics = Metrics()
    observers = events.Observers([metrics])

    observers.emit(events.PongSent())

    assert _sample(metrics.render(), "wsdevice_pongs_sent_total") == "1"


def test_page_is_in_the_text_format():
    """Each metric has one HELP, one TYPE, then its samples; the page ends with a line end."""
    metrics = Metrics()
    for counted in COUNTERS:
        metrics(_example(counted.event))
    for name in GAUGES:
        metrics.gauge(name, lambda: 1.5)

    page = metrics.render()

    assert page.endswith("1.5\n")
    seen: list[str] = []
    for line in page.splitlines():
        if line.startswith("# HELP "):
            seen.append(line.split()[2])
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {seen[-1]} {'gauge' if seen[-1] in GAUGES else 'counter'}"
        else:
            assert LINE.fullmatch(line), line
            assert re.match(r"\w+", line)[0] == seen[-1]
    assert seen == [counted.name for counted in COUNTERS] + list(GAUGES)


# --- gauges ---------------------------------------------------------------------------------------------------


def test_gauge_is_read_at_each_scrape():
    """A gauge shows what its function says now; a later function takes its place."""
    metrics = Metrics()
    assert "wsdevice_devices" not in metrics.render()
    present = [1]
    metrics.gauge("wsdevice_devices", lambda: len(present))
    assert _sample(metrics.render(), "wsdevice_devices") == "1"
    present.append(2)
    assert _sample(metrics.render(), "wsdevice_devices") == "2"

    metrics.gauge("wsdevice_devices", lambda: 0)

    assert _sample(metrics.render(), "wsdevice_devices") == "0"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (True, "1"), (1.5, "1.5"), (float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN")],
)
def test_gauge_values_are_written_as_prometheus_reads_them(value, text):
    """Whole numbers, fractions, infinities and NaN have their own spellings."""
    metrics = Metrics()

    metrics.gauge("wsdevice_draining", lambda: value)

    assert _sample(metrics.render(), "wsdevice_draining") == text


def test_gauge_without_description_is_misuse():
    """A gauge that the reference page does not know is refused."""
    with pytest.raises(Misuse, match="wsdevice_lamps"):
        Metrics().gauge("wsdevice_lamps", lambda: 1)


def test_broken_gauge_is_reported_once_and_left_out(caplog):
    """One gauge that raises does not hide the others."""
    metrics = Metrics()
    metrics.gauge("wsdevice_devices", lambda: 1 // 0)
    metrics.gauge("wsdevice_draining", lambda: 0)

    pages = [metrics.render(), metrics.render()]

    assert [_sample(page, "wsdevice_devices") for page in pages] == [None, None]
    assert [_sample(page, "wsdevice_draining") for page in pages] == ["0", "0"]
    assert [record.getMessage() for record in caplog.records] == [
        "the gauge wsdevice_devices failed and is left out from now on"
    ]


# --- loop lag -------------------------------------------------------------------------------------------------


@virtual_time
async def test_loop_lag_is_the_worst_since_the_last_look():
    """Of several delays the worst is told, once."""
    lag = LoopLag(interval=0.25)
    tasks = Tasks("test")
    tasks.spawn(lag.run(), "loop lag")
    await asyncio.sleep(10)
    assert lag.take() == pytest.approx(0, abs=1e-9)

    for held in (0.5, 2.0, 1.0):
        hold(held)
        await asyncio.sleep(10)

    assert 2.0 >= lag.take() > 1.75
    assert lag.take() == 0
    assert await tasks.close(1)


@virtual_time
async def test_loop_lag_ends_with_its_owner():
    """The sampler runs until it is cancelled, and no longer."""
    tasks = Tasks("test")
    task = tasks.spawn(LoopLag().run(), "loop lag")
    await asyncio.sleep(100)
    assert not task.done()

    assert await tasks.close(1)

    assert task.cancelled()


# --- the reference page ---------------------------------------------------------------------------------------


def test_committed_page_is_what_the_tables_say():
    """The page in the repository is the one that the tables make."""
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "docs/metrics.md is out of date; make it anew with `python -m gateway.observe.metrics > docs/metrics.md`"
    )


def test_module_prints_the_page():
    """Running the module prints the page, with nothing around it."""
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gateway.observe.metrics"], cwd=ROOT, capture_output=True, check=True
    )

    assert printed.stdout.decode() == reference()
    assert printed.stderr == b""


def test_page_has_every_metric():
    """Each counter and gauge has a row of its own, with as many cells as the head."""
    page = reference()

    for counted in COUNTERS:
        assert page.count(f"| `{counted.name}` | {counted.help} | ") == 1
    for name, help_text in GAUGES.items():
        assert page.count(f"| `{name}` | {help_text} |\n") == 1
    assert all(line.count("|") in (3, 4) for line in page.splitlines() if line.startswith("|"))
