"""One job at a time for many who ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Batch:
    """One job for all who ask for it while another runs: what was asked for before a job begins is done by it."""

    def __init__(self, job: Callable[[], Awaitable[None]]) -> None:
        self._job = job
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Wait until a job that began after this call has ended; raises what it raised."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        async with self._turn:
            self._next = None
            await self._job()
