"""The examples that the documentation shows are the files that the tests run, word for word."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
MARK = re.compile(r"<!-- (tests/examples/\S+\.py) -->\n(?:\n```python\n(.*?)```\n)?", re.DOTALL)


def shown(page: Path) -> str:
    """Return a page with every example as it should be shown."""

    def block(mark: re.Match[str]) -> str:
        return f"<!-- {mark[1]} -->\n\n```python\n{(ROOT / mark[1]).read_text()}```\n"

    return MARK.sub(block, page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_are_shown_as_they_run(page):
    """Run this file as a program to write them anew."""
    assert page.read_text() == shown(page)


def test_every_example_is_shown():
    """An example that no page shows helps nobody."""
    pages = "".join(page.read_text() for page in PAGES)

    examples = [f"tests/examples/{path.name}" for path in ROOT.glob("tests/examples/test_*.py")]
    missing = [example for example in examples if example not in pages]

    assert missing == []


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(shown(path))
