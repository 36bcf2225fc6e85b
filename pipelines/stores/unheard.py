"""Tasks whose result nobody may wait for any more."""

import asyncio
from typing import Any


def take_notice(task: "asyncio.Task[Any]") -> None:
    """Look at how a task ended: its error is not news where nobody waits, and asyncio would say it was never heard."""
    if not task.cancelled():
        task.exception()
