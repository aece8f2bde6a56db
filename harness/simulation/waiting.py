"""Who waits for what: a suspended task in one line."""

from __future__ import annotations

import asyncio
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


def _frames(coroutine: Any) -> Iterator[FrameType]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        frame = frame or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        coroutine = next(
            (
                inner
                for name in ("cr_await", "ag_await", "gi_yieldfrom")
                if (inner := getattr(coroutine, name, None)) is not None
            ),
            None,
        )


def _is_asyncio(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("asyncio.")
