"""Taking down the frames of tasks that were killed, where nobody hears them."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any


class Buried(BaseException):
    """Thrown into the coroutines of dead tasks to take down their frames."""


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Let nobody hear what the dead say while their frames are taken down: no log, no warning, no hook."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        sys.unraisablehook = hook


def unwind(coroutine: Any) -> None:
    """Take down the frames of a coroutine."""
    for _ in range(100):  # one that awaits in its finally block is thrown at again where it waits
        try:
            coroutine.throw(Buried())
        except BaseException:  # noqa: BLE001 - whatever comes out of the dead
            return
