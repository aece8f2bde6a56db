"""The page on firmware shows what is really said."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.firmware.build import find_build
from harness.firmware.errors import FirmwareError
from harness.firmware.fitness import fits
from harness.firmware.spoiled_builds import SPOILINGS, spoil
from tests.harness.firmware.builds import C3, FLASH, build_in

PAGE = (Path(__file__).parents[3] / "docs/firmware.md").read_text()


@pytest.mark.parametrize("name", SPOILINGS)
def test_refusals(tmp_path: Path, name: str):
    """The text for each spoiled build is in its table."""
    build_in(tmp_path)
    spoil(tmp_path, name)
    with pytest.raises(FirmwareError) as refusal:
        fits(find_build(tmp_path), C3, FLASH)

    assert f"| `{name}` | {str(refusal.value).replace(str(tmp_path), 'BUILD')} |" in PAGE


def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example on the page runs."""
    monkeypatch.chdir(tmp_path)
    (example,) = (block.split("```")[0] for block in PAGE.split("```python\n")[1:])

    exec(compile(example, "docs/firmware.md", "exec"), {})

    assert (tmp_path / "door-1.1.0/flasher_args.json").is_file()
