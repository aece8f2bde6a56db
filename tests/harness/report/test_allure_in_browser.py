"""A report that Allure makes of our results, opened as people open it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.report.writing import write_report
from tests.harness.report.browser import DEADLINE, running
from tests.harness.report.samples import MATRIX, WIFI

pytestmark = pytest.mark.slow
APPEARS = """new Promise((done) => {
  const look = () => document.body.innerText.includes(%r) && done(true);
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
  look();
})"""


def allure() -> str:
    """Allure 2's command, which can be told to leave its analytics out; Allure 3 cannot."""
    command = os.environ.get("WSDEVICE_TEST_ALLURE") or shutil.which("allure")
    if not command:
        pytest.skip(
            "expected the command `allure`: npm install allure-commandline, and its path in WSDEVICE_TEST_ALLURE"
        )
    version = subprocess.run(
        [command, "--version"], check=True, capture_output=True, text=True, timeout=DEADLINE
    ).stdout.strip()
    if not version.startswith("2."):
        pytest.skip(f"expected Allure 2, got {version}, whose reports ask for an address of its own")
    return command


def test_an_allure_report(tmp_path: Path):
    """It opens from a file with tests, categories and environment, without an error, and asks for nothing."""
    command = allure()
    results = write_report(MATRIX, tmp_path / "report").allure
    made = tmp_path / "made"
    quiet = {**os.environ, "ALLURE_NO_ANALYTICS": "true"}
    subprocess.run(
        [command, "generate", str(results), "--single-file", "-o", str(made)],
        env=quiet,
        check=True,
        timeout=2 * DEADLINE,
    )

    with running(tmp_path / "profile") as browser, browser.page(made / "index.html", 1280, 900) as page:
        for place, words in (
            ("", "esptool"),
            ("categories", "firmware faults"),
            ("categories", "rig faults"),
            ("behaviors", "wsdevice"),
        ):
            page.run(f"location.hash = {place!r}")
            assert page.run(APPEARS % words) is True
        page.run("location.hash = 'suites'")
        for name in ("kettle", "esp32s3", "reconnecting", WIFI.doc):
            assert page.run(APPEARS % name[:20]) is True
            node = f"[...document.querySelectorAll('.node__name')].find(e => e.textContent.trim() === {name!r})"
            page.run(f"{node}.click()")
        assert page.run(APPEARS % "[firmware] s3-box expected") is True
        assert page.run(APPEARS % "timeline (drawn)") is True
        assert page.complaints == []
        assert [url for url in page.requested if not url.startswith(("file:", "data:", "blob:"))] == []
