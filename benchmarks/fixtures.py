"""What the pytest plugin costs: the set-up of its fixtures, and the whole conformance suite.

``python -m benchmarks.fixtures`` prints milliseconds per test, and seconds for the suite over both networks.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytest

TESTS = 200

PLAIN = "def test_it_{number}({fixtures}):\n    pass\n"
ASYNC = "@pytest.mark.asyncio\nasync def test_it_{number}({fixtures}):\n    pass\n"


class Setups:
    """Notes how long the set-up and the end of each test took."""

    def __init__(self):
        self.seconds = {"setup": [], "teardown": []}

    def pytest_runtest_logreport(self, report):
        if report.when in self.seconds:
            self.seconds[report.when].append(report.duration)


def run(directory: Path, *arguments: str, plugins=()) -> float:
    """Run pytest; return how long it took."""
    began = time.perf_counter()
    quiet = [
        "-q",
        "--no-header",
        "--no-summary",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(directory),
    ]
    code = pytest.main([*quiet, "-c", str(directory / "pytest.toml"), *arguments], plugins=list(plugins))
    assert code == 0, code
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    print(f"Python {sys.version.split()[0]}, pytest {pytest.__version__}")
    results = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pytest.toml").write_text('[pytest]\nasyncio_default_fixture_loop_scope = "function"\n')
        for what, template, fixtures, network in [
            ("no fixture, async", ASYNC, "", "tcp"),
            ("ws_gateway, async", ASYNC, "ws_gateway", "tcp"),
            ("ws_device, async", ASYNC, "ws_device", "tcp"),
            ("ws_device, async, simulated", ASYNC, "ws_device", "sim"),
            ("ws_device, plain", PLAIN, "ws_device", "tcp"),
        ]:
            tests = "".join(template.format(number=number, fixtures=fixtures) for number in range(TESTS))
            path = directory / f"test_{len(results)}.py"
            path.write_text("import pytest\n\n" + tests)
            setups = Setups()
            run(directory, str(path), "--ws-network", network, plugins=[setups])
            results.append((what, setups.seconds["setup"][1:], setups.seconds["teardown"][1:]))  # the first imports
        suite = {
            network: run(directory, "--pyargs", "pytest_wsdevice.conformance", "--ws-network", network)
            for network in ("tcp", "sim")
        }
    print(f"\n{'milliseconds':<32}{'set-up: median':>16}{'p95':>8}{'end: median':>16}{'p95':>8}")
    for what, setup, end in results:
        cells = [1000 * value for times in (setup, end) for value in (statistics.median(times), _p95(times))]
        print(f"{what:<32}{cells[0]:>16.1f}{cells[1]:>8.1f}{cells[2]:>16.1f}{cells[3]:>8.1f}")
    for network, seconds in suite.items():
        print(f"the whole conformance suite over {network}: {seconds:.1f} s")


def _p95(times):
    return statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    main()
