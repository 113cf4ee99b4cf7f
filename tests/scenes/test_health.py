"""Each machine looks after itself: a restart mends what it can, with a limit, and the gateway knows of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenes.scene import Scene, wait_for
from tests.scenes.small import small_stack

pytestmark = pytest.mark.localcloud

NODES = GATEWAY, SPOKE = "hetzner-gw", "hetzner-1"
TUNNEL, SERVICE = "wg-quick@wg0.service", "hybridnet.service"
TIMER, RUN = "hybridnet-health.timer", "hybridnet-health.service"
AFTER_A_RUN = f'while [ "$(systemctl is-active {RUN})" = activating ]; do sleep 0.1; done'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with small_stack(tmp_path_factory.mktemp("health")) as scene:
        # A spoke's tunnel is there before its release, and with that what is looked at here.
        wait_for("both are well", lambda: all(scene.succeeds(node, "hybridnet", "health") for node in NODES), 60)
        yield scene


def health(scene: Scene, node: str) -> dict[str, Any]:
    return json.loads(scene.exec(node, "hybridnet", "health", "--json", check=False))


def look(scene: Scene, node: str) -> None:
    """What the timer does, now: not a run of its that may have looked before."""
    scene.exec(node, "sh", "-c", f"{AFTER_A_RUN}; systemctl start {RUN}")


def restarts(scene: Scene, node: str, unit: str) -> int:
    said = scene.exec(node, "sh", "-c", "cat /var/lib/hybridnet/restarts.json", check=False)
    return len(json.loads(said)["restarts"].get(unit, [])) if said else 0


def told(scene: Scene, node: str) -> list[str] | None:
    """What the gateway was told is wrong with a machine; None before it was told anything."""
    condition = scene.gateway_status()["conditions"].get(node)
    return None if condition is None else condition["problems"]


def test_everybody_is_well_and_the_gateway_knows_it(small: Scene) -> None:
    for node in NODES:
        assert small.succeeds(node, "hybridnet", "health"), small.exec(node, "hybridnet", "health", check=False)
        assert small.exec(node, "systemctl", "is-active", TIMER) == "active\n"
        look(small, node)
    wait_for("both are known to be well", lambda: told(small, SPOKE) == told(small, GATEWAY) == [], 60)


def test_what_is_wrong_is_known_to_the_gateway_and_so_is_that_it_is_over(small: Scene) -> None:
    small.exec(SPOKE, "nft", "delete", "table", "inet", "hybridnet")
    assert health(small, SPOKE)["healthy"] is False
    look(small, SPOKE)
    wait_for("the gateway knows", lambda: "packet filter" in " ".join(told(small, SPOKE) or []), 30)
    assert small.gateway_status()["conditions"][SPOKE]["healthy"] is False
    small.exec(SPOKE, "systemctl", "reload-or-restart", "nftables")
    look(small, SPOKE)
    wait_for("the gateway knows that it is over", lambda: told(small, SPOKE) == [], 30)


def test_the_timer_brings_back_a_tunnel_that_is_gone_and_a_service_that_hangs(small: Scene) -> None:
    small.exec(GATEWAY, "systemctl", "kill", "--signal=STOP", SERVICE)
    # The timer may mend it within the seconds that the command takes.
    small.exec(SPOKE, "sh", "-c", f"systemctl stop {TIMER}; {AFTER_A_RUN}; ip link del wg0")
    assert small.exec(SPOKE, "hybridnet", "health", check=False) == "unhealthy: wg0 is gone\n"
    small.exec(SPOKE, "systemctl", "start", TIMER)
    wait_for("the tunnel", lambda: small.pings(SPOKE, small.control), 120)
    assert restarts(small, SPOKE, TUNNEL) == 1
    wait_for("the service", lambda: restarts(small, GATEWAY, SERVICE) == 1, 120)
    wait_for("its release", lambda: small.succeeds(GATEWAY, "hybridnet", "status"), 60)
    assert health(small, GATEWAY)["healthy"]
    assert restarts(small, SPOKE, SERVICE) == restarts(small, GATEWAY, TUNNEL) == 0


def test_what_does_not_stay_mended_is_left_alone_in_the_end(small: Scene) -> None:
    while (done := restarts(small, SPOKE, TUNNEL)) < 3:
        small.exec(SPOKE, "ip", "link", "del", "wg0")
        look(small, SPOKE)
        assert restarts(small, SPOKE, TUNNEL) == done + 1
    small.exec(SPOKE, "ip", "link", "del", "wg0")
    look(small, SPOKE)
    assert restarts(small, SPOKE, TUNNEL) == 3
    assert not small.succeeds(SPOKE, "ip", "link", "show", "wg0")
    assert f"{TUNNEL} was restarted 3 times within an hour" in small.exec(
        SPOKE, "journalctl", "--unit=hybridnet-health", "--no-pager"
    )
    small.exec(SPOKE, "systemctl", "restart", TUNNEL)
    wait_for("the tunnel", lambda: small.pings(SPOKE, small.control), 30)


def test_what_somebody_stops_stays_stopped(small: Scene) -> None:
    small.exec(SPOKE, "systemctl", "stop", SERVICE)
    look(small, SPOKE)
    assert health(small, SPOKE)["problems"] == [f"{SERVICE} was stopped: `systemctl start {SERVICE}`"]
    assert restarts(small, SPOKE, SERVICE) == 0
    small.exec(SPOKE, "systemctl", "start", SERVICE)
    wait_for("all is well", lambda: health(small, SPOKE)["healthy"], 30)
