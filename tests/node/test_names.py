"""Names of the overlay: what gateways tell, and whom the others ask."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from node.gateway.names import Dns, GatewayNames, NamesError, NoDnsError, SystemdDns, configuration, hosts
from node.names import ResolvedNames, reverse_zones
from overlay.model import Network, Node, Site
from tests.node.flows import told
from tests.node.support import key

NETWORK = Network(
    IPv4Network("10.100.0.0/16"), (Site("aws", "aws", IPv4Network("10.100.2.0/24"), "eu-central-1"),), "hub"
)
SIX = replace(NETWORK, overlay6=IPv6Network("fd12:3456:789a::/48"), domain="corp.example")
NODES = [
    Node("gw", "aws", IPv4Address("10.100.2.254"), "gateway", key("gw")),
    Node("aws-9", "aws", IPv4Address("10.100.2.9"), "spoke", key("aws-9")),
]
SERVERS = [IPv4Address("10.100.2.254"), IPv4Address("10.100.0.1")]


def test_a_node_has_its_site_and_the_domain_in_its_name() -> None:
    assert hosts(NETWORK, NODES) == "10.100.2.9 aws-9.aws.wg.internal\n10.100.2.254 gw.aws.wg.internal\n"
    assert [line.split() for line in hosts(SIX, NODES[1:]).splitlines()] == [
        ["10.100.2.9", "aws-9.aws.corp.example"],
        ["fd12:3456:789a::a64:209", "aws-9.aws.corp.example"],
    ]


@pytest.mark.parametrize("name", ["two\n10.0.0.1 lines", "a b", "", "#"])
def test_what_is_no_label_gets_no_line(name: str) -> None:
    assert hosts(NETWORK, [replace(NODES[0], name=name)]) == ""


@pytest.mark.parametrize("overlay", ["10.100.0.0/16", "10.64.0.0/10", "10.100.16.0/20", "10.0.0.0/8", "10.1.2.128/25"])
def test_the_reverse_zones_are_of_the_overlay_and_nothing_else(overlay: str) -> None:
    network = replace(SIX, overlay=IPv4Network(overlay))
    zones = reverse_zones(network)
    first, last = network.overlay.network_address, network.overlay.broadcast_address
    assert len(zones) <= 128 + 8
    assert SIX.overlay6
    for address, is_inside in ((first, True), (last, True), (first - 1, False), (last + 1, False)):
        six = IPv6Address(int(SIX.overlay6.network_address) + int(address))
        for each in (address, six):
            under = [
                zone for zone in zones if each.reverse_pointer.endswith(f".{zone}") or each.reverse_pointer == zone
            ]
            assert len(under) == is_inside, (each, under)


class MemoryDns(Dns):
    """Remembers what it was asked to do, and the files that were there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.done: list[tuple[str, str]] = []
        self.error: NamesError | None = None

    def stop(self) -> None:
        self._note("stop")

    def take(self) -> None:
        self._note("take")

    def _note(self, verb: str) -> None:
        if self.error:
            raise self.error
        path = self._folder / "dnsmasq.conf"
        self.done.append((verb, path.read_text() if path.exists() else ""))


def test_dnsmasq_is_told_of_changes_alone(tmp_path: Path) -> None:
    folder = tmp_path / "dns"
    dns = MemoryDns(folder)
    names = GatewayNames(folder, dns)
    before, after = configuration(NETWORK), configuration(SIX)
    assert names.keep(NETWORK, NODES)
    assert not names.keep(NETWORK, reversed(NODES))
    assert names.keep(NETWORK, NODES[:1])
    assert dns.done == [("stop", ""), ("take", before), ("take", before)]
    assert (folder / "hosts").read_text() == hosts(NETWORK, NODES[:1])
    dns.done.clear()
    assert names.keep(SIX, NODES)
    assert dns.done == [("stop", before), ("take", after)]
    assert GatewayNames(folder, dns).keep(SIX, NODES)
    assert dns.done[2:] == [("take", after)], "a new service knows nothing of the old one's last step"


def test_dnsmasq_can_read_what_it_needs_whatever_the_services_umask_is(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        GatewayNames(tmp_path / "dns", MemoryDns(tmp_path / "dns")).keep(NETWORK, NODES)
    finally:
        os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "dns", *(tmp_path / "dns").iterdir()]}
    assert modes == {"dns": 0o755, "hosts": 0o644, "dnsmasq.conf": 0o644}


def test_what_dnsmasq_refused_is_said_once_and_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dns = MemoryDns(tmp_path / "dns")
    names = GatewayNames(tmp_path / "dns", dns)
    dns.error = NamesError("it does not start")
    assert [names.keep(NETWORK, NODES) for _ in range(3)] == [False] * 3
    dns.error = None
    assert names.keep(NETWORK, NODES)
    assert dns.done[-1] == ("take", configuration(NETWORK))
    assert capfd.readouterr().err == "it does not start\n"


def test_a_file_that_a_power_cut_has_spoiled_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "dns").mkdir()
    for name in ("hosts", "dnsmasq.conf"):
        (tmp_path / "dns" / name).write_bytes(b"\xff")
    dns = MemoryDns(tmp_path)
    assert GatewayNames(tmp_path / "dns", dns).keep(NETWORK, NODES)
    assert (tmp_path / "dns" / "dnsmasq.conf").read_text() == configuration(NETWORK)
    assert (tmp_path / "dns" / "hosts").read_text() == hosts(NETWORK, NODES)


def test_a_disk_that_refuses_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = GatewayNames(tmp_path / "missing" / "dns", MemoryDns(tmp_path))
    assert [names.keep(NETWORK, NODES) for _ in range(2)] == [False] * 2
    assert capfd.readouterr().err.count("\n") == 1


def tool(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!{sys.executable}\nimport json, os, sys\nfrom pathlib import Path\n{body}")
    (folder / name).chmod(0o755)


def test_a_gateway_without_the_unit_says_so_once_and_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tool(tmp_path, "systemctl", f"open({str(tmp_path / 'calls')!r}, 'a').write('x'); sys.exit(5)")
    names = GatewayNames(tmp_path / "dns", SystemdDns())
    assert [names.keep(network, NODES) for network in (NETWORK, NETWORK, SIX)] == [False] * 3
    assert (tmp_path / "calls").read_text() == "x"
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "raise its `revision`" in said
    with pytest.raises(NoDnsError):
        SystemdDns().take()


RESOLVECTL = """
path = Path(os.environ["RESOLVED"])
if not path.exists():
    sys.exit("Failed to set DNS configuration: Unit dbus-org.freedesktop.resolve1.service not found.")
state = json.loads(path.read_text())
verb, link, *words = sys.argv[1:]
assert link == "wg0"
if words:
    state["link"][verb] = words
    state["made"] += 1
    path.write_text(json.dumps(state))
else:
    told = state["link"].get(verb, ["yes"] if verb == "default-route" else [])
    print("Link 7 (wg0): " + "\\n              ".join(told))
"""


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in for resolvectl(1) keeps what it was told; without the file it has no systemd-resolved."""
    tool(tmp_path, "resolvectl", RESOLVECTL)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("RESOLVED", str(tmp_path / "resolved.json"))
    (tmp_path / "resolved.json").write_text('{"link": {}, "made": 0}')
    return tmp_path / "resolved.json"


def told_resolved(path: Path) -> dict[str, list[str]]:
    return json.loads(path.read_text())["link"]


def test_the_links_servers_and_zones_are_kept(resolved: Path) -> None:
    names = ResolvedNames()
    assert names.keep(SIX, SERVERS)
    assert not names.keep(SIX, SERVERS)
    link = told_resolved(resolved)
    assert link["dns"] == ["10.100.2.254", "10.100.0.1"]
    assert link["domain"] == ["~corp.example", *(f"~{zone}" for zone in reverse_zones(SIX))]
    assert link["default-route"] == ["no"]
    resolved.write_text('{"link": {}, "made": 0}')
    assert names.keep(SIX, SERVERS), "after the interface or systemd-resolved was started anew"
    assert told_resolved(resolved) == link
    assert names.keep(SIX, SERVERS[:1])
    assert told_resolved(resolved)["dns"] == ["10.100.2.254"]


@pytest.mark.parametrize("verb", ["dns", "domain"])
def test_what_somebody_else_has_set_is_put_right(resolved: Path, verb: str) -> None:
    names = ResolvedNames()
    names.keep(SIX, SERVERS)
    state = json.loads(resolved.read_text())
    resolved.write_text(json.dumps({**state, "link": {**state["link"], verb: ["192.0.2.1"]}}))
    assert names.keep(SIX, SERVERS)
    assert told_resolved(resolved) == state["link"]


def test_a_machine_without_systemd_resolved_says_so_once(
    resolved: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ResolvedNames()
    kept = resolved.read_text()
    resolved.unlink()
    assert [names.keep(SIX, SERVERS) for _ in range(3)] == [False] * 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "not found" in said
    resolved.write_text(kept)
    assert names.keep(SIX, SERVERS)
    monkeypatch.setenv("PATH", "/nowhere")
    assert [names.keep(SIX, SERVERS) for _ in range(3)] == [False] * 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "there is no systemd-resolved" in said


ANSWERING = """
import json, signal, socket, struct, subprocess, sys

conf, hosts, more, dnsmasq = map(json.loads, sys.argv[1:])
for words in (
    "mount -t tmpfs tmpfs /run", "mkdir /run/dns", "ip link set lo up", "ip link add wg0 type bridge",
    "ip address add 10.100.2.254/16 dev wg0", "ip link set wg0 up",
):
    subprocess.run(words.split(), check=True)

def write(name, text):
    with open("/run/dns/" + name, "w") as file:
        file.write(text)

def ask(name, kind):
    "The code, and the data of the last answer, to one question (RFC 1035, section 4); asked until it is told."
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + bytes(1)
    with socket.create_connection(("10.100.2.254", 53), 9) as client:
        question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack("!2H", kind, 1)
        client.sendall(struct.pack("!H", len(question)) + question)
        found = client.recv(999)[2:]
    return found[3] & 15, found[12 + len(labels) + 4 + 12:].hex()

write("dnsmasq.conf", conf)
write("hosts", hosts)
words = [dnsmasq, "--no-daemon", "--conf-file=/run/dns/dnsmasq.conf"]
with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
    def wait():
        assert any("/run/dns/hosts" in line for line in running.stderr), running.returncode

    try:
        wait()
        names = ["aws-9.aws.wg.internal", "gw.aws.wg.internal", "example.com"]
        before = [ask(name, 1) for name in names] + [ask("9.2.100.10.in-addr.arpa", 12)]
        write("hosts", more)
        running.send_signal(signal.SIGHUP)
        wait()
        print(json.dumps([before, ask("gw.aws.wg.internal", 1)]))
    finally:
        running.kill()
"""


def test_dnsmasq_answers_for_the_overlay_and_for_nothing_else() -> None:
    dnsmasq = shutil.which("dnsmasq")
    if dnsmasq is None:
        pytest.skip("needs dnsmasq")
    conf = configuration(NETWORK).replace("/var/lib/hybridnet/dns", "/run/dns")
    found = told(ANSWERING, conf, hosts(NETWORK, NODES[1:]), hosts(NETWORK, NODES), dnsmasq)
    name = b"".join(bytes([len(label)]) + label.encode() for label in ("aws-9", "aws", "wg", "internal")) + bytes(1)
    no_such_name, refused = 3, 5
    before = [[0, NODES[1].address.packed.hex()], [no_such_name, ""], [refused, ""], [0, name.hex()]]
    assert found == [before, [0, NODES[0].address.packed.hex()]]
