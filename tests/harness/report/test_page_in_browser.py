"""The page as people have it: opened from a file in Chromium, at the size of a desk and of a phone, light and dark."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from harness.report.page import page
from harness.report.record import Record
from harness.report.svg import timeline_svg
from tests.harness.report.browser import Browser, Page, running
from tests.harness.report.samples import FAILED, FAILING, MATRIX, PASSING, RUN, SLOW, WIFI, console
from tests.harness.report.test_page import HOSTILE

PICTURES = Path(__file__).parents[3] / "docs" / "images"
DESK, PHONE = (1280, 800), (390, 844)
DRAWING = "#first .drawing"
MARKS = f"document.querySelectorAll('{DRAWING} .mark').length"
TITLES = f"[...document.querySelectorAll('{DRAWING} text.lane')].map(e => e.textContent)"
LISTED = "document.querySelectorAll('#first .entries li').length"
STATUS = "document.querySelector('#first [role=status]').textContent"
SPAN = "(({from, to}) => Number(to) - Number(from))(document.querySelector('#first figure').dataset)"

EYES = (Path(__file__).parent / "eyes.js").read_text()
PALE, OVERLAPPING, UNNAMED = (f"{EYES}; {name}()" for name in ("pale", "overlapping", "unnamed"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """One Chromium for all."""
    with running(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of all kinds, as files."""
    directory = tmp_path_factory.mktemp("pages")
    hostile = msgspec.structs.replace(
        WIFI,
        doc=HOSTILE,
        name=HOSTILE,
        message=HOSTILE,
        timeline=(console(0, HOSTILE), {**console(1, "x"), "source": HOSTILE}),
    )
    long = msgspec.structs.replace(
        WIFI, timeline=tuple(console(n / 10, f"I ({n}) line {n}") for n in range(20_000)), failed_at=1990.0
    )
    records = {
        "failing": FAILING,
        "matrix": MATRIX,
        "passing": PASSING,
        "slow": SLOW,
        "hostile": Record(RUN, "firmware", HOSTILE, (msgspec.structs.replace(FAILED, scenarios=(hostile,)),)),
        "long": Record(RUN, "firmware", "", (msgspec.structs.replace(FAILED, scenarios=(long,)),)),
    }
    for name, record in records.items():
        (directory / f"{name}.html").write_text(page(record))
    (directory / "timeline.svg").write_text(timeline_svg(WIFI.timeline, WIFI.doc, WIFI.failed_at))
    return directory


def picture(page: Page, name: str) -> None:
    """Write it where the docs have it, when asked to; they must be there in any case."""
    path = PICTURES / f"{name}.png"
    if os.environ.get("WSDEVICE_TEST_SCREENSHOTS") == "write":
        page.picture(path)
    assert path.is_file(), f"WSDEVICE_TEST_SCREENSHOTS=write pytest {__file__}"


def fits(page: Page, selector: str, height: int) -> bool:
    """Whether all of an element is in the window, without scrolling."""
    box = page.box(selector)
    return box["top"] >= 0 and box["bottom"] <= height and box["height"] > 0


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_failure_is_seen_at_once(browser: Browser, reports: Path, size: tuple[int, int], dark: bool):
    """Verdict, the failing scenario, why, the command and its timeline, without scrolling; nothing is cut off."""
    width, height = size
    with browser.page(reports / "failing.html", width, height, dark=dark) as page:
        for selector in (
            ".verdict .badge",
            ".verdict h1",
            ".verdict .why",
            "#first h2",
            "#first pre",
            "#first .command",
        ):
            assert fits(page, selector, height), selector
        assert page.box(DRAWING)["top"] + 200 < height
        assert page.run(MARKS) > 15
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run(PALE) == []
        assert page.run(OVERLAPPING) == []
        picture(page, f"report-{'phone' if size == PHONE else 'desk'}-{'dark' if dark else 'light'}")
        assert page.complaints == []
        assert page.requested == [(reports / "failing.html").as_uri()]


@pytest.mark.parametrize("name", ["matrix", "passing", "slow", "hostile", "long"])
def test_other_reports(browser: Browser, reports: Path, name: str):
    """No script error, no request, nothing pale, nothing cut off, on a phone; each button and field has a name."""
    with browser.page(reports / f"{name}.html", *PHONE, dark=name == "matrix") as page:
        page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        page.settle()
        assert page.run("document.documentElement.scrollWidth") == PHONE[0]
        assert page.run(PALE) == []
        assert page.run(UNNAMED) == []
        assert page.run("[...document.querySelectorAll('header, main, footer, h1')].length") == 4
        drawn = "[...document.querySelectorAll('figure.timeline')].every(e => e.querySelector('.mark'))"
        assert page.run(drawn) is True
        assert page.complaints == []
        assert page.requested == [(reports / f"{name}.html").as_uri()]


def test_hostile_text_does_nothing(browser: Browser, reports: Path):
    """It is on the page as text; the page's title and its elements are what they were."""
    with browser.page(reports / "hostile.html", *DESK) as page:
        assert page.run("document.title").startswith("firmware fault")
        assert page.run("document.images.length") == 0
        assert "<script>document.title" in page.run("document.querySelector('#first .entries').textContent")
        assert page.complaints == []


def test_the_policy_stops_what_is_smuggled_in(browser: Browser, reports: Path):
    """A script or an address that got into the page all the same would not run, and would not be asked for."""
    with browser.page(reports / "failing.html", *DESK) as page:
        smuggled = """new Promise((done) => {
          addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));
          const image = new Image(); image.src = 'https://example.invalid/x'; document.body.append(image);
        })"""
        assert page.run(smuggled) == "img-src"
        assert page.run("fetch('https://example.invalid/').then(() => 'went', () => 'stopped')") == "stopped"
        page.run(
            "{ const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); }"
        )
        assert page.run("window.ran === undefined") is True
        asked = {each["requestId"] for each in page.events("Network.requestWillBeSent")[1:]}
        stopped = {each["requestId"] for each in page.events("Network.loadingFailed") if each["blockedReason"] == "csp"}
        assert asked == stopped != set()


def test_zooming(browser: Browser, reports: Path):
    """By buttons, wheel and keys; the wheel scrolls the page until the drawing has been clicked."""
    with browser.page(reports / "failing.html", *DESK) as page:
        whole = page.run(SPAN)
        page.wheel(DRAWING, -240)
        assert page.run(SPAN) == whole, "the page was to scroll"
        page.click('#first [aria-label="zoom in"]')
        assert page.run(SPAN) == pytest.approx(whole / 2, rel=0.01)
        page.click(DRAWING)
        page.wheel(DRAWING, -240)
        assert page.run(SPAN) < whole / 2.5
        before = page.run("document.querySelector('#first figure').dataset.from")
        page.key("ArrowRight")
        assert page.run("document.querySelector('#first figure').dataset.from") > before
        page.drag(DRAWING, 200)
        moved = page.run("document.querySelector('#first figure').dataset.from")
        assert float(moved) < float(before)
        page.key("-")
        page.key("0")
        assert page.run(SPAN) == pytest.approx(whole, rel=0.01)
        page.click('#first [aria-label="show the failure"]')
        assert page.run(SPAN) == pytest.approx(2.2, rel=0.01)
        assert page.run("document.querySelectorAll('#first .failure').length") == 1
        assert page.complaints == []


def test_pinching(browser: Browser, reports: Path):
    """Two fingers that go apart zoom in; the page does not scroll or zoom with them."""
    with browser.page(reports / "failing.html", *PHONE) as page:
        whole = page.run(SPAN)
        x, y = page.middle(DRAWING)
        for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90), ("touchEnd", 0)):
            points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}] if apart else []
            page.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        page.settle()
        assert page.run(SPAN) < whole / 2
        assert page.run("visualViewport.scale") == 1


def test_filtering(browser: Browser, reports: Path):
    """Lanes are switched off and on, a search dims what does not match and lists what does."""
    with browser.page(reports / "failing.html", *DESK) as page:
        all_ = page.run(LISTED)
        page.click("#first .lanes button:nth-child(2)")
        assert page.run(TITLES) == ["s3-box console", "gateway", "network", "power and faults", "test"]
        assert (
            page.run("document.querySelector('#first .lanes button:nth-child(2)').getAttribute('aria-pressed')")
            == "false"
        )
        assert page.run(LISTED) == all_ - 36
        page.click("#first .lanes button:nth-child(2)")
        assert page.run(LISTED) == all_
        page.type("#first input", "failed to connect")
        assert page.run(STATUS) == "2 entries found in view"
        assert page.run(LISTED) == 2
        assert page.run(f"document.querySelectorAll('{DRAWING} .mark:not(.dim)').length") == 2
        picture(page, "report-search")


def test_an_entry_is_found_in_the_drawing_and_back(browser: Browser, reports: Path):
    """A mark that is clicked is chosen in the list; a line of the list is shown in the drawing, by keys, too."""
    with browser.page(reports / "failing.html", *DESK) as page:
        chosen = "document.querySelector('#first [aria-selected=true] .what')?.textContent"
        page.click(f"{DRAWING} .network.lost")
        assert page.run(chosen) == "has lost its connection: end of TCP"
        assert page.run("document.querySelectorAll('#first .chosen').length") == 1
        page.run("document.querySelector('#first .entries').focus()")
        page.key("ArrowDown")
        assert page.run(chosen).startswith("ConnectionClosed")


def test_a_long_timeline_begins_at_its_failure(browser: Browser, reports: Path):
    """Its last seconds are in view, what is left out is said, and all of it can be shown."""
    with browser.page(reports / "long.html", *DESK) as page:
        assert page.run(SPAN) == pytest.approx(21, abs=0.1)
        hint = page.run("document.querySelector('#first .hint').textContent")
        assert "17,000 entries left out of this page" in hint
        page.click('#first [aria-label="show all"]')
        assert page.run(STATUS).startswith("the last 200 of 3,000 entries")
        assert page.run(LISTED) == 200
        assert page.run(MARKS) < 300


def test_other_scenarios(browser: Browser, reports: Path):
    """They are searched and filtered, and opened; a link to a crash's scenario opens it."""
    with browser.page(reports / "failing.html", *DESK) as page:
        visible = "[...document.querySelectorAll('.scenarios li')].filter(e => e.checkVisibility()).length"
        page.type("#scenarios-0 .filters input", "power")
        assert page.run(visible) == 1
        page.click("#scenarios-0 .toggle[data-outcome=passed]")
        assert page.run(visible) == 0
        assert page.run("document.querySelector('#scenarios-0 .nothing').checkVisibility()") is True
        page.run("document.querySelector('#scenarios-0 .filters input').value = ''")
        page.click("#scenarios-0 .toggle[data-outcome=passed]")
        page.click("#crashes-0 a")
        assert page.run("document.querySelector('#scenario-1').open") is True
        assert page.run("document.querySelectorAll('#scenario-1 .mark').length") > 5


def test_the_command_is_copied(browser: Browser, reports: Path):
    """With one press."""
    with browser.page(reports / "failing.html", *DESK) as page:
        browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        page.call("Page.bringToFront")
        page.click("#first .copy")
        assert page.run("document.querySelector('#first .copy').textContent") == "Copied"
        assert page.run("navigator.clipboard.readText()") == WIFI.reproduce


def test_the_timeline_as_a_picture(browser: Browser, reports: Path):
    """The SVG stands for itself: legible in light and dark, no text over another, no request."""
    for dark in (False, True):
        with browser.page(reports / "timeline.svg", *DESK, dark=dark) as page:
            assert page.run(OVERLAPPING) == []
            paper = "getComputedStyle(document.querySelector('.paper')).fill"
            assert page.run(paper) == ("rgb(25, 29, 33)" if dark else "rgb(255, 254, 252)")
            assert page.complaints == []
            assert page.requested == [(reports / "timeline.svg").as_uri()]
