"""The report on previews that are written here: what it says, what it must never let through, how long it may be."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from review.__main__ import as_json, main
from review.markdown import LIMIT, markdown, quoted
from review.ports import EVERYWHERE
from review.preview import NoPreviewError, read
from review.report import Report, report
from review.terminal import show

SERVER = "hcloud:index/server:Server"
ROSTER = "pulumi-python:dynamic/hybrid-wireguard:Roster"
FIREWALL = "hcloud:index/firewall:Firewall"


def urn(type_: str, name: str) -> str:
    return f"urn:pulumi:dev::p::{type_}::{name}"


def state(type_: str, name: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"urn": urn(type_, name), "type": type_, "custom": True, "inputs": inputs, **more}


def step(operation: str, old: dict[str, Any] | None, new: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    sides = {key: value for key, value in (("oldState", old), ("newState", new)) if value}
    return {"op": operation, "urn": (new or old or {})["urn"], **sides, "detailedDiff": None, **more}


def of(*steps: dict[str, Any], **more: Any) -> Report:
    same = sum(one["op"] == "same" for one in steps)
    return report(read(json.dumps({"steps": steps, "changeSummary": {"same": same}, **more})))


def roster(nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return state(ROSTER, "roster", {"nodes": nodes, "pools": {}, "paths": {}, **more})


def node(address: str = "10.100.1.1", **more: str) -> dict[str, str]:
    return {"site": "hetzner", "role": "spoke", "address": address, "publicKey": "k", **more}


def server(name: str, **inputs: Any) -> dict[str, Any]:
    told = {"serverType": "cx23", "location": "fsn1", "labels": {"node": name}, **inputs}
    return state(SERVER, f"{name}-server", told, replacementTrigger=1)


def test_peers_join_leave_and_change_and_the_rest_is_not_told() -> None:
    old = {"a": node(), "b": node("10.100.1.2"), "same": node("10.100.1.9")}
    new = {"b": node("10.100.1.3", group="web"), "c": node("10.100.1.4"), "same": node("10.100.1.9")}
    found = of(step("update", roster(old), roster(new)))
    assert [(one.sign, one.name) for one in found.peers] == [("-", "a"), ("~", "b"), ("+", "c")]
    assert (found.peers[1].before, found.peers[1].after) == (
        "address 10.100.1.2, group none",
        "address 10.100.1.3, group web",
    )
    assert found.verdict.startswith("1 node joins, 1 node leaves, 1 node changes, no machine is replaced")


def test_a_changed_key_is_a_change_and_a_secret_says_nothing() -> None:
    found = of(step("update", roster({"a": node()}), roster({"a": node(publicKey="other")})))
    assert (found.peers[0].before, found.peers[0].after) == ("WireGuard key k", "WireGuard key other")
    hidden = of(step("update", roster({"a": node()}), roster({"a": node(endpoint="[secret]")})))
    assert hidden.peers[0].after == "endpoint (secret)"


@pytest.mark.parametrize(
    ("change", "reasons", "why"),
    [
        ({"location": "nbg1"}, ["location"], "location: fsn1 → nbg1"),
        ({"publicNets": [{"ipv4Enabled": False}]}, ["publicNets"], "publicAddress"),
        ({"userData": "[secret]"}, ["userData"], "what first boots are told"),
        ({}, [], "what it depends on is replaced"),
    ],
)
def test_a_replaced_machine_says_which_setting_is_why(change: dict[str, Any], reasons: list[str], why: str) -> None:
    found = of(step("replace", server("a"), server("a", **change), replaceReasons=reasons))
    assert [(one.kind, one.name, one.why) for one in found.machines] == [("replaced", "a", why)]
    assert f"- a (cx23) is replaced: {why}\n" in markdown(found)
    assert found.verdict.startswith("1 machine is replaced")


def test_what_first_boots_are_told_is_never_shown() -> None:
    old, new = (server("a", userData=f"#cloud-config\npassword: {word}") for word in ("hunter2", "hunter3"))
    found = of(step("replace", old, new, replaceReasons=["userData"]))
    assert found.machines[0].why == "what first boots are told"
    assert "hunter" not in markdown(found) + as_json(found)


def test_a_gateway_is_told_as_one_and_lost_machines_are_red() -> None:
    old, new = (
        server("gw", location=place, labels={"node": "gw", "role": "wireguard-gateway"}) for place in ("fsn1", "nbg1")
    )
    said = markdown(of(step("replace", old, new, replaceReasons=["location"])))
    assert said.startswith("### 🔴 1 machine is replaced (1 gateway)")
    assert "- gw (gateway, cx23) is replaced: location: fsn1 → nbg1\n" in said
    assert markdown(of(step("delete", server("a"), None))).startswith("### 🔴 1 machine is deleted")


def test_a_pools_servers_are_told_apart() -> None:
    one, two = (server(f"base-{number}", labels={"pool": "base"}) for number in (1, 2))
    found = of(step("create", None, one), step("create", None, two))
    assert [change.name for change in found.machines] == ["base-1", "base-2"]


def test_the_machines_of_a_pool_go_with_it() -> None:
    template = {"launchTemplate": {"overrides": [{"instanceType": "g5.xlarge"}, {"instanceType": "g6.xlarge"}]}}
    inputs = {"minSize": 1, "maxSize": 6, "region": "eu-central-1", "mixedInstancesPolicy": template}
    found = of(step("delete", state("aws:autoscaling/group:Group", "burst-group", inputs), None))
    (change,) = found.machines
    assert (change.kind, change.name, change.server_type) == ("deleted", "burst", "g5.xlarge or g6.xlarge")
    assert change.why == "the settings no longer have it; its machines go, 1 to 6 of them"
    assert found.verdict.startswith("The machines of a pool are deleted")
    assert found.others == ()


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        ([step("create", None, server("a", publicNets=[{"ipv4Enabled": False, "ipv6Enabled": False}]))],
         "1 machine is made, no machine is replaced, +6.11 USD a month."),
        ([step("update", server("a"), server("a", labels={"node": "a", "team": "x"}))],
         "1 machine is changed while it runs, no machine is replaced, ±0.00 USD a month."),
        ([step("create", None, state("aws:s3/bucket:Bucket", name, {})) for name in "bc"],
         "2 other resources change, no machine is replaced, ±0.00 USD a month."),
        ([step("update", roster({}, adminCidrs=["10.0.0.0/8"]), roster({}, adminCidrs=[]))],
         "1 setting of the network changes, no machine is replaced, ±0.00 USD a month."),
    ],
)  # fmt: skip
def test_the_verdict_says_whatever_changes(steps: list[dict[str, Any]], verdict: str) -> None:
    assert of(*steps).verdict == verdict


def test_what_is_no_longer_protected_is_red_even_where_nothing_else_changes() -> None:
    key, address = ("tls:index/privateKey:PrivateKey", "stack-signing"), ("hcloud:index/primaryIp:PrimaryIp", "gw-ip")
    found = of(
        step("same", state(*key, {}, protect=True), state(*key, {}, protect=False)),
        step("update", state(*address, {}), state(*address, {}, protect=True)),
        step("create", None, server("b") | {"protect": True}),
        step("same", server("a") | {"protect": True}, server("a") | {"protect": True}),
    )
    lost, gained = "1 resource is no longer protected", "1 resource is protected from now on"
    assert f"1 machine is made, {lost}, {gained}, " in found.verdict
    assert [(one.name, one.is_protected) for one in found.protections] == [("stack-signing", False), ("gw-ip", True)]
    said = markdown(found)
    assert said.startswith("### 🔴 ")
    assert "\n- stack-signing (tls:index/privateKey:PrivateKey) is no longer protected\n" in said
    alone = of(step("same", state(*key, {}, protect=True), state(*key, {}, protect=False)))
    assert alone.verdict.startswith("1 resource is no longer protected")
    quiet = of(step("same", state(*key, {}, protect=False), state(*key, {}, protect=True)))
    assert markdown(quiet).startswith("### 🟢 1 resource is protected from now on")


def test_a_setting_is_told_as_the_settings_say_it() -> None:
    backup = {"backup": True, "weight": 5.0}
    found = of(step("update", roster({}), roster({}, loadBalancer={"nodes": {"aws-1": backup}})))
    assert [one.after for one in found.settings] == ["nodes aws-1 backup true, weight 5"]


def test_another_release_is_told_first() -> None:
    kind = "pulumi-python:dynamic/hybrid-wireguard:Release"
    old, new = (state(kind, "release", {"sha256": digit * 64}) for digit in "ab")
    found = of(step("same", roster({}), roster({})), step("update", old, new))
    assert [(one.what, one.before, one.after) for one in found.settings] == [("release", "a" * 12, "b" * 12)]
    assert found.verdict.startswith("Machines take another release, no machine is replaced")


def test_machines_that_are_deleted_made_or_changed_in_place() -> None:
    found = of(
        step("delete", server("gone"), None),
        step("create", None, server("new")),
        step("update", server("big"), server("big", serverType="cx33")),
        step("update", server("named"), server("named", labels={"node": "named", "team": "x"})),
    )
    assert [(one.kind, one.name) for one in found.machines] == [
        ("deleted", "gone"), ("stopped and started", "big"), ("made", "new"), ("changed while it runs", "named"),
    ]  # fmt: skip


def rule(port: str, *sources: str) -> dict[str, Any]:
    return {"direction": "in", "protocol": "tcp", "port": port, "sourceIps": list(sources)}


def test_ports_open_close_and_change_on_the_machines_that_stand_behind_the_firewall() -> None:
    wall = urn(FIREWALL, "wall")
    machine = {**server("a"), "propertyDependencies": {"firewallIds": [wall]}}
    old = state(FIREWALL, "wall", {"rules": [rule("22", "203.0.113.0/24"), rule("80", "0.0.0.0/0", "::/0")]})
    new = state(FIREWALL, "wall", {"rules": [rule("22", "0.0.0.0/0", "::/0"), rule("443", "[unknown]")]})
    found = of(step("same", machine, machine), step("update", old, new))
    assert [(one.verb, one.port, one.machines, one.before, one.after) for one in found.ports] == [
        ("opens", "443/tcp", ("a",), "", "known after the change"),
        ("changes", "22/tcp", ("a",), "203.0.113.0/24", "anywhere"),
        ("closes", "80/tcp", ("a",), "anywhere", ""),
    ]


def test_a_machine_that_moves_behind_another_firewall_has_other_ports() -> None:
    walls = {
        name: state(FIREWALL, name, {"rules": [rule(port, "10.0.0.0/8")]}) for name, port in (("x", "1"), ("y", "2"))
    }
    old, new = ({**server("a"), "propertyDependencies": {"firewallIds": [urn(FIREWALL, name)]}} for name in walls)
    found = of(*(step("same", wall, wall) for wall in walls.values()), step("update", old, new))
    assert [(one.verb, one.port, one.machines) for one in found.ports] == [
        ("opens", "2/tcp", ("a",)), ("closes", "1/tcp", ("a",)),
    ]  # fmt: skip


def test_a_port_that_was_open_to_the_world_already_is_not_told_as_opened_to_it() -> None:
    old, new = (
        state(FIREWALL, "wall", {"rules": [rule("22", *sources)]}) for sources in (EVERYWHERE, EVERYWHERE - {"::/0"})
    )
    assert "1 port is open to others, no machine" in of(step("update", old, new)).verdict
    assert "1 port is open to others (1 to anywhere)" in of(
        step("update", state(FIREWALL, "wall", {"rules": [rule("22", "10.0.0.0/8")]}), new)
    ).verdict  # fmt: skip


def test_a_server_without_a_firewall_is_open_and_not_closed() -> None:
    wall = state(FIREWALL, "wall", {"rules": [rule("22", "203.0.113.0/24")]})
    behind = {**server("a", firewallIds=[1]), "propertyDependencies": {"firewallIds": [wall["urn"]]}}
    found = of(step("update", behind, server("a")), step("delete", wall, None))
    assert [(one.verb, one.port, one.after) for one in found.ports] == [
        ("opens", "everything", "anywhere"), ("closes", "22/tcp", ""),
    ]  # fmt: skip
    assert "1 port opens (1 to anywhere)" in found.verdict


HOSTILE = "x|</td><script>alert(1)</script> [a](http://evil) `b` *c* @team #1 www.evil.example \x1b[31m\u202e"


def test_a_hostile_name_is_text_everywhere() -> None:
    found = of(
        step(
            "update",
            roster({}, network={"topology": "hub"}),
            roster({HOSTILE: node()}, network={"topology": f"{HOSTILE}\n\n# x"}),
        ),
        step("replace", server(HOSTILE), server(HOSTILE)),
        diagnostics=[{"severity": "error", "message": f"error: [mandatory] {HOSTILE}"}],
    )
    said = markdown(found)
    fences = said.split("```")
    outside = fences[0] + fences[2]
    assert "\n# x" not in outside
    for markup in ("<script", "[a](", "`b`", "*c*", "@team", "#1 ", "://", "www.", "\x1b", "\u202e", "x|"):
        assert markup not in outside, markup
    assert "\x1b" not in said
    stream = io.StringIO()
    show(found, stream)
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()


def test_text_that_needs_no_escape_stays_readable() -> None:
    assert quoted("10.100.1.0/24, aws-1 (spoke): a → b") == "10.100.1.0/24, aws-1 (spoke): a → b"


def test_errors_come_first_and_make_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "steps": [step("create", None, server("a"))],
        "diagnostics": [
            {"severity": "warning", "message": "warning: retired\n"},
            {"severity": "error", "urn": urn(SERVER, "a-server"), "message": "error: [mandatory] imdsv1 (p 1): no\n"},
        ],
    }
    file = tmp_path / "preview.json"
    file.write_text(json.dumps(document))
    assert main([str(file), "--format", "markdown"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("### ❌ Policies refuse it: 1 mandatory violation. 1 machine is made")
    assert lines[2] == "**error** at a-server:"
    assert "imdsv1" in lines[3]


BARE = '{"steps": [{"op": "update", "urn": "urn:pulumi:dev::p::hcloud:index/server:Server::a"}]}'
NO_URN = '{"steps": [{"op": "same", "urn": "a::b", "newState": {"urn": "a::b", "type": "t"}}]}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"steps": 5}',
        '{"diagnostics": {}, "steps": {"a": 1}}',
        '{"steps": [{"op": "create"}]}',
        "nonsense",
        '{"steps": [{"op":',
        "[" * 100_000,
        BARE,
        NO_URN,
    ],
    ids=str.__len__,
)
def test_what_is_no_preview_is_wrong_usage(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text(content)
    assert main([str(file)]) == 2
    assert "preview --json" in capsys.readouterr().err
    with pytest.raises(NoPreviewError):
        read(content)


def test_a_file_that_is_not_there_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nosuch")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/nosuch: No such file or directory\n"


def test_a_preview_that_broke_off_claims_no_more_than_it_came_to() -> None:
    error = {"severity": "error", "message": "error: Program failed with an unhandled exception"}
    found = of(step("same", server("a"), server("a")), step("create", None, server("b")), diagnostics=[error])
    assert found.verdict == "The preview failed: 1 error. What follows is only what it came to."
    assert "#### Cost" not in markdown(found)
    objection = {"severity": "error", "message": "error: [mandatory] imdsv1 (p 1): no"}
    found = of(step("create", None, server("b")), diagnostics=[objection])
    assert found.verdict.startswith("Policies refuse it: 1 mandatory violation. 1 machine is made")
    assert "#### Cost" in markdown(found)


def test_nothing_changes() -> None:
    found = of(step("same", server("a"), server("a")))
    assert found.verdict == "Nothing changes."
    assert markdown(found) == "### 🟢 Nothing changes.\n"


def test_without_what_stays_only_the_difference_is_told() -> None:
    document = {"steps": [step("create", None, server("a"))], "changeSummary": {"create": 1, "same": 40}}
    found = report(read(json.dumps(document)))
    assert not found.bill.is_whole
    assert "only what changes is counted" in markdown(found)


def test_a_firewall_whose_machines_are_not_listed_is_not_said_to_have_none() -> None:
    old, new = (state(FIREWALL, "wall", {"rules": [rule("22", source)]}) for source in ("10.0.0.0/8", "0.0.0.0/0"))
    for same, expected in ((0, "no machine yet"), (40, "the preview does not list its machines")):
        document = {"steps": [step("update", old, new)], "changeSummary": {"update": 1, "same": same}}
        (found,) = report(read(json.dumps(document))).ports
        assert found.machines == (f"wall ({expected})",)


def test_a_thousand_spokes_stay_readable() -> None:
    names = [f"spoke-{number}" for number in range(1000)]
    found = of(
        step(
            "update",
            roster({}),
            roster({name: node(f"10.100.{index // 250}.{index % 250 + 1}") for index, name in enumerate(names)}),
        ),
        *(step("create", None, server(name)) for name in names),
    )
    assert found.ports[0].machines == tuple(sorted(names))
    said = markdown(found)
    assert "1000 nodes join" in said
    assert "… and 960 more" in said
    assert "spoke-106 and 990 more" in said
    assert len(said.splitlines()) < 200


def test_the_summary_stays_under_githubs_limit() -> None:
    huge = [{"severity": "error", "message": "@" * 3000} for _ in range(40)]
    said = markdown(of(step("create", None, server("a")), diagnostics=huge))
    assert len(said.encode()) <= LIMIT + 200


def test_the_report_as_json_and_as_a_table() -> None:
    found = of(step("create", None, server("a")))
    document = json.loads(as_json(found))
    made = {"kind": "made", "name": "a", "role": "", "server_type": "cx23", "place": "fsn1", "why": ""}
    assert document["machines"] == [made]
    assert document["bill"]["lines"][0]["after"] == 1
    stream = io.StringIO()
    show(found, stream)
    assert "made" in stream.getvalue()


def test_it_reads_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "review", "--format", "json"],
        input=json.dumps({"steps": []}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "Nothing changes."
