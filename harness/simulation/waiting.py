"""Who waits for what: a suspended task in one line."""

from __future__ import annotations

import asyncio
import gc
import inspect
import linecache
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from harness.simulation.processes import Process


def in_words(task: asyncio.Task[Any]) -> str:
    """Say where a task waits, in the innermost line that is not asyncio's own, and for which other task."""
    process: Process | None = getattr(task, "process", None)
    of = "" if process is None else f" of {process.host}"
    frames = list(_frames(task.get_coro()))
    if not frames:
        return f"{task.get_name()}{of}: has not begun"
    own = next((frame for frame in reversed(frames) if not _is_asyncio(frame)), frames[-1])
    code, line = own.f_code, own.f_lineno
    text = linecache.getline(code.co_filename, line).strip()
    return f"{task.get_name()}{of}: {Path(code.co_filename).name}:{line} in {code.co_qualname}: {text}{_awaited(task)}"


def _awaited(task: asyncio.Task[Any]) -> str:
    other = getattr(task, "_fut_waiter", None)
    return f" (which waits for {other.get_name()})" if isinstance(other, asyncio.Task) else ""


def _frames(waiting: Any) -> Iterator[FrameType]:
    """Go from a coroutine to what it awaits, and on; yield their frames, outermost first."""
    while waiting is not None:
        for name in ("cr_frame", "gi_frame", "ag_frame"):
            if (frame := getattr(waiting, name, None)) is not None:
                yield frame
        inner = [found for name in ("cr_await", "gi_yieldfrom", "ag_await") if (found := getattr(waiting, name, None))]
        # between an asynchronous generator and who iterates over it is an object that tells nothing
        inner += [found for found in gc.get_referents(waiting) if not inner and inspect.isasyncgen(found)]
        waiting = inner[0] if inner else None


def _is_asyncio(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("asyncio.")
