"""That a refusal changes nothing, and is logged."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncGenerator
from typing import Any

from tests.node.pools import Member, PoolGateway


def everything(gateway: PoolGateway) -> dict[str, Any]:
    """What no refusal may change: the leases on disk and in memory, the bindings, the peers."""
    with contextlib.closing(sqlite3.connect(gateway.state / "leases.db")) as db:
        tables = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in ("leases", "bindings", "cursors")}
    return {**tables, "live": gateway.live(), "peers": dict(gateway.wireguard.state)}


@contextlib.asynccontextmanager
async def unchanged(gateway: PoolGateway) -> AsyncGenerator[None]:
    """The service goes on, and with everything as it was."""
    before = everything(gateway)
    yield
    assert (await gateway.ask("GET", "/v1/status"))[1]["healthy"] is True
    assert everything(gateway) == before


async def refused(gateway: PoolGateway, member: Member, status: int, reason: str, **changes: Any) -> dict[str, Any]:
    async with unchanged(gateway):
        found, answer = await gateway.join(member, **changes)
        assert (found, answer["status"]) == (status, status), answer
        assert reason in answer["reason"]
    line = gateway.audit()[-1]
    assert (line["event"], line["status"], line["reason"]) == ("refuse", status, answer["reason"])
    return answer
