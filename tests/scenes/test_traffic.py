"""Requests through the gateway: who gets them, and what becomes of them when machines go and settings change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import pytest

from bench.place import Place
from bench.serving import POOL_SETUP, Serving
from bench.steady import NEW_NAME, steady
from tests.scenes.pools import POOLS
from tests.scenes.scene import ADDRESSES, Scene, wait_for

pytestmark = pytest.mark.localcloud

BASE = {name: ADDRESSES[name] for name in ("hetzner-1", "hetzner-2")}
BOUND = 16
"""Requests at once on a base machine."""


def with_a_server(config: dict[str, Any]) -> None:
    config["loadBalancer"] = {"enabled": True}
    config["sites"]["hetzner"]["serving"] = {"maxConns": BOUND}
    config["sites"]["aws"]["serving"] = {"backup": False}  # aws-1, which begins to serve where weights are tested
    for pool in config["pools"].values():
        pool["userSetup"] = POOL_SETUP


@pytest.fixture(scope="module")
def serving(scene: Scene) -> Generator[Serving]:
    """The dev stack with the inference server on its base machines and in its pools."""
    serving = Serving(Place(scene.directory))
    with scene.changed(with_a_server):
        scene.up()
        serving.give_files()
        everyone = scene.everyone()
        for node in [*BASE, *(member for pool in POOLS for member in scene.members(pool))]:
            serving.install(node, everyone[node])
        wait_for("every machine", lambda: len(serving.in_rotation()) == len(BASE) + len(POOLS), 60)
        yield serving
    scene.up()
    for node in [*BASE, *(member for pool in POOLS for member in scene.members(pool))]:
        serving.remove(node)


@contextmanager
def unhealthy(serving: Serving, nodes: Iterable[str]) -> Generator[None]:
    """Some machines that say of themselves that they are not healthy, as long as the block takes."""
    names = set(nodes)
    before = serving.in_rotation()
    for node in names:
        serving.say(node, healthy=False)
    try:
        wait_for(f"{names} out", lambda: serving.in_rotation() == before - names, 30)
        yield
    finally:
        for node in names:
            serving.say(node, healthy=True)
        wait_for(f"{names} back", lambda: serving.in_rotation() == before, 30)


def answered(serving: Serving, clients: int, answer_seconds: float) -> Counter[str]:
    """Who answered when so many clients asked at once; AssertionError when one got no answer."""
    outcomes = serving.measured(serving.task({"seconds": answer_seconds}, clients=clients, seconds=0.1))
    assert [each.error for each in outcomes if each.error] == []
    return Counter(each.machine for each in outcomes)


def at_desk(scene: Scene, program: str, *words: str) -> Any:
    """The JSON that a Python program prints at the desk."""
    return json.loads(scene.run("run", "--", "python3", "-c", program, *words).stdout)


ASK = """
import http.client, json, ssl, sys
address, path, ca_file, body = sys.argv[1:]
host, _, port = address.partition(":")
connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=ca_file))
connection.request("POST" if body else "GET", path, body or None)
answer = connection.getresponse()
print(json.dumps([answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.load(answer)]))
"""
"""Prints status, headers and body of an answer in JSON."""

SHAKE_HANDS = """
import json, socket, ssl, sys
address, name, ca_file = sys.argv[1:]
host, _, port = address.partition(":")
context = ssl.create_default_context(cafile=ca_file or None)
context.set_alpn_protocols(["h2", "http/1.1"])
try:
    with context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname=name) as connection:
        print(json.dumps(connection.selected_alpn_protocol()))
except ssl.SSLCertVerificationError as error:
    print(json.dumps(error.verify_message))
"""
"""Prints the protocol that a client gets which trusts the authority in a file, or else the usual ones; or why none."""


@pytest.fixture(scope="module")
def ca_file(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stack's authority."""
    path = tmp_path_factory.mktemp("serving") / "ca.pem"
    path.write_text(serving.ca_pem)
    return str(path)


def test_base_machines_answer_and_burst_machines_only_while_no_base_machine_can(serving: Serving) -> None:
    burst = serving.in_rotation() - set(BASE)
    addresses = {name: target["address"] for name, target in serving.targets().items()}
    assert set(answered(serving, 8, 0.2)) == set(BASE.values())
    with unhealthy(serving, BASE):
        assert set(answered(serving, 8, 0.2)) == {addresses[name] for name in burst}
    assert set(answered(serving, 8, 0.2)) == set(BASE.values())


def test_what_does_not_fit_onto_base_machines_is_for_burst_machines(serving: Serving) -> None:
    found = answered(serving, 3 * BOUND, 8)
    assert [found[address] for address in BASE.values()] == [BOUND, BOUND]
    assert found.total() == 3 * BOUND


def test_weights_are_honoured(serving: Serving) -> None:
    """One machine of weight 10 and one of weight 5, both base."""
    serving.install("aws-1", ADDRESSES["aws-1"], "--linger 0")
    wait_for("the other one", lambda: "aws-1" in serving.in_rotation(), 30)
    weights = {name: target["weight"] for name, target in serving.targets().items()}
    assert (weights["hetzner-1"], weights["aws-1"]) == (10, 5)
    with unhealthy(serving, ["hetzner-2"]):
        task = serving.task({"seconds": 0.2}, clients=12, seconds=5)
        found = Counter(each.machine for each in serving.measured(task))
    serving.remove("aws-1")
    wait_for("its end", lambda: "aws-1" not in serving.in_rotation(), 30)
    assert set(found) == {ADDRESSES["hetzner-1"], ADDRESSES["aws-1"]}
    assert found[ADDRESSES["hetzner-1"]] / found[ADDRESSES["aws-1"]] == pytest.approx(10 / 5, rel=0.1)


def test_no_machine_is_said_and_when_to_ask_again(scene: Scene, serving: Serving, ca_file: str) -> None:
    def ask(path: str, body: str) -> Any:
        return at_desk(scene, ASK, serving.address, path, ca_file, body)

    assert ask("/health", "")[0] == 200
    with unhealthy(serving, serving.in_rotation()):
        for path, body in (("/health", ""), ("/v1/completions", '{"prompt": "Hello"}')):
            status, headers, problem = ask(path, body)
            assert (status, headers["content-type"]) == (503, "application/json")
            assert int(headers["retry-after"]) > 0
            assert problem["error"]["code"] == "no_machine"


@pytest.mark.parametrize(
    ("option", "said"), [("-tls1", "alert"), ("-tls1_1", "alert"), ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")]
)
def test_old_protocols_are_refused_by_the_gateway(scene: Scene, serving: Serving, option: str, said: str) -> None:
    ask = ("openssl", "s_client", "-connect", serving.address, option, "-cipher", "DEFAULT@SECLEVEL=0")
    done = scene.run("run", "--", *ask, check=False)
    assert ("alert protocol version" in done.stderr) == (said == "alert")
    assert (done.returncode == 0 and f"New, {said}" in done.stdout) == (said != "alert")


def test_the_certificate_is_the_stacks_and_for_the_gateway_alone(scene: Scene, serving: Serving, ca_file: str) -> None:
    def shake(name: str, ca: str) -> str:
        return at_desk(scene, SHAKE_HANDS, serving.address, name, ca)

    host = serving.address.partition(":")[0]
    assert shake(host, ca_file) == "h2"
    assert shake("hetzner-gw", ca_file) == "h2"
    assert "unable to get local issuer certificate" in shake(host, "")
    assert "Hostname mismatch" in shake("inference.example.org", ca_file)
    assert "IP address mismatch" in shake("198.18.9.9", ca_file)


def test_steady_requests_and_streams_outlive_machines_rosters_and_certificates(
    scene: Scene, serving: Serving, ca_file: str
) -> None:
    """Streams of a minute on both base machines begin first, so that they pass through every reload."""
    streams = serving.task({"seconds": 60, "max_tokens": 120, "stream": True}, clients=4, seconds=0.1, patience=20)
    with ExitStack() as changes:

        def change(what: Callable[[dict[str, Any]], object]) -> None:
            changes.enter_context(scene.changed(what))
            scene.up()

        with serving.load(streams) as streamed:
            report = steady(serving, change, rate=20, patience=20, say=print)
    assert report.unexplained == []
    assert report.sent_elsewhere == []
    assert report.unlogged == 0
    assert report.failed, "nothing was under way where the power went: it proves nothing"
    assert len(report.machines) > 4
    whole = [each for each in streamed if not each.error]
    assert {each.machine for each in whole} == {BASE["hetzner-1"]}
    assert len(whole) == 2, "the other machine's two ended with it"
    assert {len(each.lags) for each in whole} == {120}
    assert min(each.lags[0] for each in whole) < 0.05
    assert median(lag for each in whole for lag in each.lags) < 0.05
    assert at_desk(scene, SHAKE_HANDS, serving.address, NEW_NAME, ca_file) == "h2"
