"""Says what is wrong where all that shows is that something did not come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import NotConnected, PeerError


@contextmanager
def or_else(defect: str) -> Iterator[None]:
    """Fail with the name of the defect when, within it, a device waits in vain, would crash, or loses its connection.

    Raises:
        AssertionError: ``defect``, and what the device saw of it.
    """
    try:
        yield
    except (PeerError, NotConnected) as error:
        raise AssertionError(f"{defect}\n{error}") from error
