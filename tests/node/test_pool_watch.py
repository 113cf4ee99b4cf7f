"""The clouds' metadata: what each says, in which words it is asked, and what counts as a notice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from node.pool.watch import Notice, Sight, Watcher
from node.pool.watch.aws import Aws
from node.pool.watch.gcp import Gcp
from node.pool.watch.hetzner import Hetzner
from node.pool.watch.metadata import Metadata
from tests.node.pool_support import AWS, FakeMetadata, telling
from tests.node.support import wait_for

GCP = "/computeMetadata/v1/instance/"
ACTION = f"{AWS}spot/instance-action"
TARGET = f"{AWS}autoscaling/target-lifecycle-state"
REBALANCE = f"{AWS}events/recommendations/rebalance"
BY_THE_GROUP = Notice("terminated by its auto-scaling group", 90.0, power_off=True)
LATER = '"time": "2120-01-01T00:00:00Z"'


@pytest.fixture
def service() -> Iterator[FakeMetadata]:
    with telling(FakeMetadata({})) as made:
        yield made


@pytest.mark.parametrize(
    ("texts", "sight"),
    [
        ({}, Sight()),
        ({TARGET: "InService"}, Sight()),
        ({TARGET: "Terminated"}, Sight(BY_THE_GROUP)),
        ({REBALANCE: '{"noticeTime": "2026-11-05T08:22:00Z"}'}, Sight(at_risk=True)),
        ({ACTION: f'{{"action": "terminate", {LATER}}}'}, Sight(Notice("spot interruption (terminate)", 90.0))),
        ({ACTION: f'{{"action": "stop", {LATER}}}'}, Sight(Notice("spot interruption (stop)", 90.0))),
        ({ACTION: f'{{"action": "\\nodd", {LATER}}}'}, Sight(Notice("spot interruption (unknown)", 90.0))),
        ({ACTION: "no JSON"}, Sight(Notice("spot interruption (unknown)", 90.0))),
        ({ACTION: "[]"}, Sight(Notice("spot interruption (unknown)", 90.0))),
        ({ACTION: '{"action": "terminate", "time": "soon"}'}, Sight(Notice("spot interruption (terminate)", 90.0))),
        (
            {ACTION: f'{{"action": "terminate", {LATER}}}', TARGET: "Terminated", REBALANCE: "{}"},
            Sight(Notice("spot interruption (terminate)", 90.0, power_off=True), at_risk=True),
        ),
    ],
)
def test_what_ec2_says(service: FakeMetadata, texts: dict[str, str], sight: Sight) -> None:
    service.texts = texts
    assert Aws(Metadata(service.address)).look() == sight


@pytest.mark.parametrize(("left", "least", "most"), [(120, 90, 90), (60, 30, 50), (5, 0, 0), (-30, 0, 0)])
def test_a_short_notice_of_ec2s_leaves_time_to_leave(service: FakeMetadata, left: int, least: int, most: int) -> None:
    end = datetime.now(UTC) + timedelta(seconds=left)
    service.texts = {ACTION: f'{{"action": "terminate", "time": "{end:%Y-%m-%dT%H:%M:%SZ}"}}'}
    notice = Aws(Metadata(service.address)).look().notice
    assert notice is not None
    assert least <= notice.seconds <= most


def test_ec2_is_asked_with_one_session_token_until_it_is_refused(service: FakeMetadata) -> None:
    cloud = Aws(Metadata(service.address))
    cloud.look()
    cloud.look()
    assert service.sessions == 1
    service.sessions = 7
    with pytest.raises(OSError, match="status 401"):
        cloud.look()
    assert cloud.look() == Sight()
    assert service.sessions == 8


def test_ec2_without_session_tokens_is_not_asked_the_old_way(service: FakeMetadata) -> None:
    def refuse(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        assert "x-aws-ec2-metadata-token" not in headers
        service.asked.append(path)
        return 403, "Forbidden"

    service.answer = refuse  # type: ignore[method-assign]
    with pytest.raises(OSError, match="a session token: status 403"):
        Aws(Metadata(service.address)).look()
    assert service.asked == ["/latest/api/token"]


@pytest.mark.parametrize(
    ("texts", "sight"),
    [
        ({}, Sight()),
        ({f"{GCP}preempted": "FALSE", f"{GCP}maintenance-event": "NONE"}, Sight()),
        ({f"{GCP}maintenance-event": "MIGRATE_ON_HOST_MAINTENANCE"}, Sight()),
        ({f"{GCP}preempted": "TRUE"}, Sight(Notice("preempted", 20.0))),
        (
            {f"{GCP}maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE"},
            Sight(Notice("terminated for maintenance of its host", 20.0)),
        ),
    ],
)
def test_what_compute_engine_says(service: FakeMetadata, texts: dict[str, str], sight: Sight) -> None:
    service.texts = texts
    assert Gcp(Metadata(service.address)).look() == sight


def test_who_a_machine_is_on_each_cloud(service: FakeMetadata) -> None:
    metadata = Metadata(service.address)
    service.texts = {
        f"{AWS}instance-id": "i-0abc",
        f"{GCP}id": "4520031799277581759\n",
        "/hetzner/v1/metadata/instance-id": "42",
    }
    assert [cloud(metadata).instance_id() for cloud in (Aws, Gcp, Hetzner)] == ["i-0abc", "4520031799277581759", "42"]
    service.texts = {}
    for cloud in (Aws, Gcp, Hetzner):
        with pytest.raises(OSError, match="nothing there"):
            cloud(metadata).instance_id()


def test_hetzner_takes_no_machine_back_and_vouches_for_none(service: FakeMetadata) -> None:
    cloud = Hetzner(Metadata(service.address))
    assert cloud.look() == Sight()
    cloud.proof("pool", "key")
    assert service.asked == []


def test_a_watcher_outlives_a_metadata_service_that_does_not_answer(
    service: FakeMetadata, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.pool.watch.LOOK_SECONDS", 0.02)
    stop = threading.Event()
    answer = service.answer

    def fail(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        service.asked.append(path)
        return 500, ""

    service.answer = fail  # type: ignore[method-assign]
    watcher = Watcher(Gcp(Metadata(service.address)), stop)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    wait_for("a few looks", lambda: len(service.asked) > 3)
    service.texts = {f"{GCP}preempted": "TRUE"}
    service.answer = answer  # type: ignore[method-assign]
    wait_for("the notice", lambda: watcher.sight.notice is not None)
    stop.set()
    thread.join()
    assert capfd.readouterr().err.count("the metadata service does not answer") == 1
