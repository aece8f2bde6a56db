"""A house: meetings, task lists and their checkpoint, over a directory, as in a gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gateway.config import WorkflowConfig
from gateway.meeting.checkpoint import Checkpoint
from gateway.meeting.snapshot import Snapshots
from gateway.meeting.workflow import Workflow
from tests.meeting.rooms import Room
from tests.virtual_time import timers, wall


class House(Room):
    """A gateway's meetings and task lists, over a directory."""

    def __init__(self, directory: Path, later: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.workflow = Workflow(WorkflowConfig(), self.records.observers, Snapshots(test_mode=False))
        self.checkpoint = Checkpoint(directory, self.meetings, self.workflow, lambda: wall() + later)
        self.features = (self.checkpoint, self.meetings, self.workflow)

    async def start(self) -> House:
        """Start as the gateway does."""
        for feature in self.features:
            await feature.start()
        return self

    async def stop(self) -> None:
        """Stop as the gateway does, and look for what was left."""
        for feature in reversed(self.features):
            await feature.stop()
        assert timers() == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
