"""The small parts of a gateway: its limits, its batches, Google's keys."""

from __future__ import annotations

import asyncio

import pytest

from node.gateway.batch import Batch
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.limits import Buckets, source_of
from tests.node.support import (
    Time,
    wait_for,
)


def test_buckets_refill_and_remember_only_so_many() -> None:
    time = Time()
    buckets = Buckets(3, 0.5, room=10, clock=time.ticks)
    assert [buckets.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert buckets.wait("a") == 2
    assert buckets.wait("b") == 0
    time.go(2)
    assert (buckets.wait("a"), buckets.take("a"), buckets.take("a")) == (0, True, False)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 10


def test_a_source_is_an_address_or_the_subnet_of_one_machine() -> None:
    assert source_of("198.51.100.7") == source_of("::ffff:198.51.100.7") == "198.51.100.7"
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2::9%eth0") == "2001:db8:1:2::"


async def test_a_batch_does_what_was_asked_before_it_began() -> None:
    runs: list[int] = []
    began, gate = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        runs.append(len(runs))
        began.set()
        await gate.wait()

    batch = Batch(job)
    first = asyncio.create_task(batch.run())
    await began.wait()
    later = [asyncio.create_task(batch.run()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *later)
    assert runs == [0, 1], "all who came during the first run share the second"


async def test_google_is_asked_seldom_and_old_keys_serve_while_it_cannot_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from node.gateway.lease import Refusal
    from tests.node.identities import google_keys

    time, answers, asked = Time(), [b"", b"{}", google_keys()], [0]

    def ask() -> bytes:
        asked[0] += 1
        answer = answers.pop(0) if answers else b""
        if not answer:
            raise OSError("no route")
        return answer

    keys = GoogleKeys(ask, time.ticks)
    for _ in range(3):
        with pytest.raises(Refusal, match="cannot be had") as caught:
            await keys.key("key-1")
        assert caught.value.status == 503
    assert asked == [1]
    time.go(30)
    with pytest.raises(Refusal, match="cannot be had"):
        await keys.key("key-1")
    time.go(30)
    assert await keys.key("key-1")
    for _ in range(5):
        with pytest.raises(Refusal, match="no key of this id"):
            await keys.key("key-2")
    assert asked == [3]
    time.go(7 * 3600)
    assert await keys.key("key-1"), "Google cannot be asked, and the key was good"
    assert asked == [4]
    wait_for("the journal's line", lambda: "no route" in capsys.readouterr().err)
