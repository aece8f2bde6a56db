"""A headless Chromium on a pipe: pages are opened, looked at, clicked and typed into, and tell what they ask for.

It speaks the DevTools protocol over file descriptors 3 and 4 (``--remote-debugging-pipe``), a NUL behind each message.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 15.0
"""Seconds for one answer: Chromium starts in one, and in several on a loaded machine."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


def chromium() -> str:
    """Where Chromium is; without it a test is skipped, in CI it fails."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = f"expected one of {', '.join(NAMES)}; on Debian: apt-get install --no-install-recommends chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@contextmanager
def running(profile: Path) -> Iterator[Browser]:
    """A browser, for as long as the block lasts."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    # through other numbers: a descriptor of ours may be 3 or 4 itself
    moved = f'exec 8<&{theirs_in} 9>&{theirs_out} 3<&8 4>&9 8<&- 9>&-; exec "$0" "$@"'
    flags = [
        "--headless=new",
        "--no-sandbox",  # root has no use for one, and the pages are ours
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    command = ["bash", "-c", moved, chromium(), *flags]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), start_new_session=True, **quiet) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        browser = Browser(ours_in, ours_out)
        try:
            yield browser
            browser.call("Browser.close")
            process.wait(DEADLINE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            browser.end()


class Browser:
    """What is on the other side of the pipe."""

    def __init__(self, read: int, write: int) -> None:
        self._write = os.fdopen(write, "wb", buffering=0)
        self._read = os.fdopen(read, "rb", buffering=0)
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last = 0
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._take, name="chromium")
        self._reader.start()

    def _take(self) -> None:
        kept = b""
        while chunk := self._read.read(1 << 20):
            *whole, kept = (kept + chunk).split(b"\0")
            for message in whole:
                self._messages.put(json.loads(message))
        self._messages.put(None)

    def end(self) -> None:
        """Let go of the pipe, whose other end is closed."""
        self._write.close()
        self._reader.join(DEADLINE)
        self._read.close()

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Ask for something, and return the answer; events that come first are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._write.write(json.dumps(message).encode() + b"\0")
        answer = self._until(lambda message: message.get("id") == self._last, method)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait_for(self, event: str, session: str) -> None:
        """Wait until an event has come."""
        wanted = lambda message: message.get("method") == event and message.get("sessionId") == session  # noqa: E731
        if not any(map(wanted, self.events)):
            self._until(wanted, event)

    def _until(self, wanted: Any, what: str) -> dict[str, Any]:
        while True:
            try:
                message = self._messages.get(timeout=DEADLINE)
            except queue.Empty:
                raise AssertionError(f"Chromium did not answer {what} in {DEADLINE} s") from None
            if message is None:
                raise AssertionError(f"Chromium has ended, while {what} was waited for")
            if "method" in message:
                self.events.append(message)
            if wanted(message):
                return message

    @contextmanager
    def page(self, path: Path, width: int, height: int, *, dark: bool = False) -> Iterator[Page]:
        """Open a file in a window of its own; a width below 600 is a phone, with fingers."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        phone = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        if phone:
            page.call("Emulation.setTouchEmulationEnabled", enabled=True)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired", session)
        page.settle()
        try:
            yield page
        finally:
            self.call("Target.closeTarget", targetId=target)


class Page:
    """One open file."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something about this page."""
        return self._browser.call(method, self._session, **params)

    def run(self, expression: str) -> Any:
        """Return what an expression of JavaScript comes to, promises included."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        result = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.run(SETTLED)

    def events(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of one kind so far."""
        self.run("0")  # whatever was on its way is here
        events = self._browser.events
        return [
            each["params"] for each in events if each["method"] == method and each.get("sessionId") == self._session
        ]

    @property
    def requested(self) -> list[str]:
        """Every address that was asked for."""
        return [each["request"]["url"] for each in self.events("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """Errors of scripts, of the console, and of the browser about the page."""
        thrown = [str(each["exceptionDetails"]) for each in self.events("Runtime.exceptionThrown")]
        said = [str(each["args"]) for each in self.events("Runtime.consoleAPICalled") if each["type"] == "error"]
        return thrown + said + [each["entry"]["text"] for each in self.events("Log.entryAdded")]

    def box(self, selector: str) -> dict[str, float]:
        """Where an element is in the window."""
        return self.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of an element, which is scrolled into the window first."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.box(selector)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def click(self, selector: str) -> None:
        """Press and release the mouse on it."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def wheel(self, selector: str, by: float) -> None:
        """Turn the wheel over it."""
        x, y = self.middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)
        self.settle()

    def drag(self, selector: str, by: float) -> None:
        """Drag it to one side."""
        x, y = self.middle(selector)
        steps = (("mousePressed", 0.0), ("mouseMoved", by / 2), ("mouseMoved", by), ("mouseReleased", by))
        for kind, moved in steps:
            self.call("Input.dispatchMouseEvent", type=kind, x=x + moved, y=y, button="left", buttons=1, clickCount=1)
        self.settle()

    def key(self, key: str) -> None:
        """Press a key where the focus is."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.settle()

    def type(self, selector: str, text: str) -> None:
        """Click into a field, and write."""
        self.click(selector)
        self.call("Input.insertText", text=text)
        self.settle()

    def picture(self, path: Path) -> None:
        """Write what is in the window as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
