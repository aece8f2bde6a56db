"""How a validation is shown while it goes on."""

import io

from harness.redaction import Redactor
from harness.validation.display import Display
from harness.validation.judgement import judged
from harness.validation.metrics import metric_named
from harness.validation.progress import Measured, Remark, ScenarioOver, Stage

BAD = Measured(judged(metric_named("boot_to_ip"), [99.0]))
GOOD = Measured(judged(metric_named("boot_to_ip"), [2.0]))


def shown(*events, live=False, **options):
    """What is written of these events."""
    out = io.StringIO()
    display = Display(out, live=live, **options)
    for event in events:
        display.tell("kettle", "s3", event)
    display.close()
    return out.getvalue()


def test_plain_lines():
    """One each; scenarios that pass are not worth one."""
    text = shown(Stage("scenarios"), GOOD, BAD, ScenarioOver("a", "passed", 1, 3), ScenarioOver("b", "failed", 2, 3))

    assert text.splitlines()[0] == "kettle on s3: scenarios"
    assert "BAD: boot to IP address: 99" in text
    assert "failed: b (2/3)" in text
    assert "passed" not in text
    assert "\x1b" not in text


def test_terminal():
    """The line of a cell is written over; what is bad, or was tried again, stays above it."""
    text = shown(Stage("scenarios"), BAD, Remark("tried again"), ScenarioOver("a", "failed", 1, 3), live=True)

    assert text.count("\x1b[1A") == 3
    assert text.splitlines()[-1].endswith("kettle on s3: scenarios; 1/3 scenarios, 1 failed; a")
    assert "kettle on s3: tried again" in text


def test_narrow_terminal():
    """A line that would wrap could not be written over."""
    assert all(len(line) < 40 for line in shown(Stage("x" * 200), live=True, columns=30).splitlines())


def test_secrets():
    """They are masked."""
    assert "hunter22" not in shown(Remark("psk is hunter22"), mask=Redactor(["hunter22"]))
