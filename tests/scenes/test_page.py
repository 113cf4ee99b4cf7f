"""The status page in a real browser on a machine of the network: who falls silent is red, who is back green."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from localcloud.cloud import Cloud
from localcloud.fabric import Fabric
from tests.browser import PROGRAM, REASON, Browser, browsing
from tests.scenes.scene import Scene, wait_for

pytestmark = [pytest.mark.localcloud, pytest.mark.skipif(PROGRAM is None, reason=REASON)]

DESK = "hetzner-1"
"""The machine whose network the browser is in."""
SPOKES = (DESK, "gcp-1")
POOL = "aws-burst"
PAGE = "http://10.100.0.1:9586/"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway, two spokes and a pool of one machine, up. Taken down after the last test, whatever happened."""
    scene = Scene(tmp_path_factory.mktemp("page") / "cloud")

    def small(ours: dict[str, Any]) -> None:
        ours["spokes"] = {name: ours["spokes"][name] for name in SPOKES}
        ours["pools"] = {POOL: ours["pools"][POOL]}

    with scene.changed(small):
        try:
            scene.up()
            yield scene
        finally:
            scene.run("down")


@pytest.fixture(scope="module")
def browser(cloud: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser in the network of a spoke, at the page."""
    init = Fabric(Cloud(cloud.directory)).init_of(DESK)
    with browsing(tmp_path_factory.mktemp("browser"), ["nsenter", "--target", str(init), "--net"]) as found:
        found.look_like(1200, 900)
        found.open(PAGE)
        found.wait("document.querySelectorAll('#node-rows tr').length > 0")
        yield found


@pytest.fixture(scope="module")
def names(cloud: Scene) -> set[str]:
    """The nodes that are there."""
    return set(cloud.everyone())


def states(browser: Browser) -> dict[str, str]:
    """State by name, of every row of the table."""
    rows = "[...document.querySelectorAll('#node-rows tr')]"
    found: dict[str, str] = browser.run(f"Object.fromEntries({rows}.map(row => [row.dataset.node, row.dataset.state]))")
    return found


def state(browser: Browser, selector: str) -> str | None:
    """The state of the row or mark of gcp-1 that is inside of what ``selector`` finds; None while it is not there."""
    found: str | None = browser.run(f"document.querySelector('{selector} [data-node=\"gcp-1\"]')?.dataset.state")
    return found


def test_every_node_is_shown_with_its_round_trip_and_nothing_is_complained_of(
    browser: Browser, names: set[str]
) -> None:
    wait_for("everybody's row", lambda: states(browser) == dict.fromkeys(names, "up"), 30)
    rows = "[...document.querySelectorAll('#node-rows tr')].filter(row => !/this gateway/.test(row.textContent))"
    browser.wait(f"{rows}.every(row => / ms/.test(row.textContent))")
    on_map = browser.run("[...document.querySelectorAll('#map [data-node]')].map(mark => mark.dataset.node)")
    assert {*on_map, "hetzner-gw"} == names
    assert browser.run("document.querySelector('#verdict .text').textContent") == "all is well"
    assert browser.complaints == []


def test_a_killed_node_is_red_within_ten_seconds_and_green_when_it_is_back(cloud: Scene, browser: Browser) -> None:
    cloud.run("kill", "gcp-1")
    wait_for("red", lambda: {state(browser, "#node-rows"), state(browser, "#map")} == {"down"}, 10)
    browser.wait("/gcp-1/.test(document.getElementById('alerts').textContent)")
    browser.wait("/gcp-1/.test(document.getElementById('announcer').textContent)")
    cloud.run("start", "gcp-1")
    wait_for("green", lambda: {state(browser, "#node-rows"), state(browser, "#map")} == {"up"}, 60)
    browser.wait("document.getElementById('alerts').children.length === 0")
    assert browser.complaints == []


def test_a_gateway_that_is_gone_is_told_and_comes_back(cloud: Scene, browser: Browser, names: set[str]) -> None:
    cloud.exec("hetzner-gw", "systemctl", "stop", "hybridnet")
    browser.wait("!document.getElementById('lost').hidden")
    cloud.exec("hetzner-gw", "systemctl", "start", "hybridnet")
    browser.wait("document.getElementById('lost').hidden", 60)
    wait_for("everybody's row", lambda: states(browser) == dict.fromkeys(names, "up"), 30)


def test_the_terminal_says_the_same(cloud: Scene, names: set[str]) -> None:
    status = ("hybridnet", "status")
    wait_for("no alerts", lambda: "no alerts" in cloud.exec("hetzner-gw", *status, check=False), 30)
    answers = "hetzner-gw answers through the tunnel"
    wait_for(answers, lambda: answers in cloud.exec("gcp-1", *status, check=False), 30)
    said = cloud.exec("hetzner-gw", "sh", "-c", "hybridnet status --json; hybridnet status")
    document, _, table = said.partition("\n")
    assert {peer["name"]: peer["site"] for peer in json.loads(document)["peers"]} == {DESK: "hetzner", "gcp-1": "gcp"}
    assert all(name in table for name in names)


def test_the_page_is_at_the_overlay_address_alone_and_under_no_foreign_name(cloud: Scene) -> None:
    public = cloud.outputs()["wg_gateway_ip"]
    ask = "curl -sS -m 3 -o /dev/null -w '%{http_code} '"
    script = f"{ask} {PAGE}; {ask} http://{public}:9586/; {ask} -H 'Host: rebound.example' {PAGE}; true"
    assert cloud.exec(DESK, "sh", "-c", script).split() == ["200", "000", "421"]
