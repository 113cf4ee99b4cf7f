"""``hybridnet revoke``: a node or a machine is cut off at once, and stays so."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node import files, stage0
from node.command.__main__ import main
from node.gateway.local import local_application, serve_locally
from node.joining import POSSESSION, possession
from node.neighbour_document import Revocation
from node.network_document import Request, request_body
from node.network_words import Keys, Report
from overlay.pools import token_digest
from tests.node.pools import GATEWAY_KEYS, TOKENS, Member, PoolGateway, key_pair, pool, pool_roster, serving
from tests.node.support import Stack

SPOKE = key_pair()
AGAIN = "another-token-of-burst"


def roster(number: int, spoke: str = SPOKE[1], token: str = TOKENS["burst"]) -> Any:
    made = pool_roster(number, (pool(token_sha256=token_digest(token)), pool("other")))
    nodes = tuple(replace(node, public_key=spoke) if node.name == "spoke-1" else node for node in made.nodes)
    return replace(made, nodes=nodes)


@pytest.fixture(autouse=True)
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)


@pytest.fixture
async def gateway(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PoolGateway]:
    async with serving(tmp_path, stack) as made:
        await made.push(roster(1))
        monkeypatch.setenv("STATE_DIRECTORY", str(made.state))
        monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(made.files))
        local = await serve_locally(local_application(made.service), made.state)
        yield made
        await local.cleanup()


async def hybridnet(*words: str) -> int:
    """The command's exit status; the service goes on meanwhile."""
    return await asyncio.to_thread(main, words)


async def joined(gateway: PoolGateway, number: int = 1) -> Member:
    member = Member(f"i-{number}")
    assert (await gateway.join(member))[0] == 201
    return member


async def ask_network(gateway: PoolGateway, keys: tuple[str, str]) -> int:
    """What ``spoke-1`` is answered on the internet."""
    body = request_body(Request("spoke-1"))
    claim = {POSSESSION: possession(keys[0], GATEWAY_KEYS[1], body)}
    return (await gateway.ask("POST", "/v1/network", body, claim))[0]


async def ask_release(gateway: PoolGateway, token: str) -> int:
    return (await gateway.ask("GET", "/v1/release", headers={"Authorization": f"Bearer {token}"}))[0]


async def test_a_declared_node_is_cut_off_and_comes_back_with_another_key_only(
    gateway: PoolGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SPOKE[1] in gateway.peers()
    assert await ask_network(gateway, SPOKE) == 200
    assert await hybridnet("revoke", "spoke-1", "--reason", "stolen") == 0
    assert SPOKE[1] not in gateway.peers(), "before the answer"
    assert "privateKeys.spoke-1" in capsys.readouterr().out
    assert await ask_network(gateway, SPOKE) == 403
    await gateway.push(roster(2))
    assert SPOKE[1] not in gateway.peers()
    fresh = key_pair()
    await gateway.push(roster(3, fresh[1]))
    assert fresh[1] in gateway.peers()
    assert await ask_network(gateway, fresh) == 200
    [line] = [line for line in gateway.audit() if line["event"] == "revoke"]
    assert (line["node"], line["reason"], line["public_key"], line["source"]) == (
        "spoke-1",
        "stolen",
        SPOKE[1],
        "command",
    )


async def test_a_machine_is_cut_off_and_nobody_comes_in_with_its_token(
    gateway: PoolGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    member, other = await joined(gateway), await joined(gateway, 2)
    assert member.answer
    assert await hybridnet("revoke", member.answer.name) == 0
    assert member.public_key not in gateway.peers()
    assert [lease.public_key for lease in gateway.live()] == [other.public_key]
    assert "`pools.burst.tokenRevision`" in capsys.readouterr().out
    assert (await gateway.tell(member, "GET"))[0] == 404
    assert (await gateway.tell(other, "GET"))[0] == 200
    assert await ask_release(gateway, TOKENS["burst"]) == 403
    assert (await gateway.join(member, ticket=member.answer.ticket))[0] == 403
    assert (await gateway.join(Member("i-3")))[0] == 403
    assert other.answer
    assert (await gateway.join(other, ticket=other.answer.ticket))[0] == 200, "who is in stays, and may ask again"
    assert (await gateway.join(Member("i-4", "other")))[0] == 201, "another pool's token is nobody's else"
    await gateway.push(roster(2, token=AGAIN))
    assert await ask_release(gateway, AGAIN) == 200
    assert (await gateway.join(Member("i-3", token=AGAIN)))[0] == 201
    assert (await gateway.join(replace(member, token=AGAIN)))[0] == 403, "the same key"
    assert (await gateway.join(Member(member.instance, token=AGAIN)))[0] == 403, "the same instance"
    reasons = [line["reason"] for line in gateway.audit() if line["event"] == "expire"]
    assert reasons == ["revoked"]


async def test_its_address_rests(gateway: PoolGateway) -> None:
    member = await joined(gateway)
    assert member.answer
    await hybridnet("revoke", member.answer.name)
    await gateway.push(roster(2, token=AGAIN))
    status, refused = await gateway.join(Member("i-9", token=AGAIN), address=member.answer.address)
    assert (status, refused["reason"]) == (409, f"address: {member.address} is not free")


async def test_a_restart_lets_nobody_back(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, stack) as gateway:
        await gateway.push(roster(1))
        member = await joined(gateway)
        assert member.answer
        with monkeypatch.context() as patch:

            async def ends(*_: object) -> None:
                """The service is killed before it ends the lease."""
                raise KeyboardInterrupt

            patch.setattr(gateway.service.revoker, "_end", ends)
            for name in ("spoke-1", member.answer.name):
                with contextlib.suppress(KeyboardInterrupt):
                    await gateway.service.revoker.revoke(name, "")
    async with serving(tmp_path, stack) as gateway:
        await gateway.until(lambda: gateway.network.applied is not None and not gateway.live(), "the lease's end")
        assert {SPOKE[1], member.public_key}.isdisjoint(gateway.peers())
        assert (await gateway.join(member))[0] == 403


async def test_who_was_cut_off_is_listed_and_in_the_status(
    gateway: PoolGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await hybridnet("revoke", "--list") == 0
    assert capsys.readouterr().out == "nobody is cut off\n"
    await hybridnet("revoke", "spoke-1", "--reason", "two\nlines\x1b[2J")
    capsys.readouterr()
    assert await hybridnet("revoke", "--list") == 0
    listed = capsys.readouterr().out
    assert listed.isascii()
    assert all(character == "\n" or character.isprintable() for character in listed)
    assert listed.splitlines()[1].split()[0] == "spoke-1"
    assert await hybridnet("revoke", "--list", "--json") == 0
    [told] = json.loads(capsys.readouterr().out)
    assert told == (await gateway.status())["revoked"][0]
    assert (told["name"], told["keys"]) == ("spoke-1", [SPOKE[1]])
    assert "spoke-1" not in [peer["name"] for peer in (await gateway.status())["peers"]]
    assert "spoke-1" not in [group["labels"]["node"] for group in gateway.service.targets.groups()]


async def test_the_same_again_changes_nothing(gateway: PoolGateway, capsys: pytest.CaptureFixture[str]) -> None:
    member = await joined(gateway)
    assert member.answer
    for name in ("spoke-1", member.answer.name):
        assert await hybridnet("revoke", name) == 0
        capsys.readouterr()
        assert await hybridnet("revoke", name, "--json") == 0
        assert json.loads(capsys.readouterr().out)["already"] is True
    assert len(gateway.network.revocations.all) == 2
    await gateway.push(roster(2, token=AGAIN))
    assert await hybridnet("revoke", member.answer.name) == 0
    assert "none of the pool burst any more" in capsys.readouterr().out
    assert await ask_release(gateway, AGAIN) == 200, "the new token is not the old machine's"


async def test_a_machine_that_has_left_can_be_cut_off_yet(gateway: PoolGateway) -> None:
    member = await joined(gateway)
    assert member.answer
    assert (await gateway.tell(member, "DELETE", {}))[0] == 200
    await gateway.until(lambda: not gateway.live(), "the lease's end")
    assert await hybridnet("revoke", member.answer.name) == 0
    await gateway.push(roster(2, token=AGAIN))
    assert (await gateway.join(replace(member, token=AGAIN)))[0] == 403


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["gw"], 1, "is a gateway"),
        (["nobody"], 1, "no node and no machine"),
        ([], 2, "either NAME or --list"),
        (["spoke-1", "--list"], 2, "either NAME or --list"),
        (["spoke-1", "--reason", "x" * 201], 1, "at most 200 characters"),
    ],
)
async def test_what_cannot_be_revoked_is_refused(
    gateway: PoolGateway, words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await hybridnet("revoke", *words) == status
    assert says in capsys.readouterr().err
    assert gateway.network.revocations.all == ()


@pytest.mark.parametrize("whose", ["machine", "spoke", "gateway"])
async def test_who_claims_the_key_of_another_bars_nobody_but_itself(gateway: PoolGateway, whose: str) -> None:
    member, victim, own = await joined(gateway), await joined(gateway, 2), key_pair()[1]
    assert member.answer
    claimed = {"machine": victim.public_key, "spoke": SPOKE[1], "gateway": GATEWAY_KEYS[1]}[whose]
    gateway.network.reports.take([Report(member.answer.name, 1, "gw", (), Keys(claimed, own))])
    assert await hybridnet("revoke", member.answer.name) == 0
    assert gateway.network.revocations.keys == {member.public_key, own}
    assert {SPOKE[1], victim.public_key} <= gateway.peers()


async def test_who_claims_the_instance_of_another_pools_machine_bars_nobody_but_itself(gateway: PoolGateway) -> None:
    thief, victim = await joined(gateway), Member("i-1", "other")
    assert (await gateway.join(victim))[0] == 201
    assert thief.answer
    assert await hybridnet("revoke", thief.answer.name) == 0
    gateway.service.wake()
    await gateway.until(lambda: thief.public_key not in gateway.peers(), "the thief's end")
    assert [lease.public_key for lease in gateway.live()] == [victim.public_key]
    assert (await gateway.join(replace(thief, token=TOKENS["other"], pool="other")))[0] == 403
    assert (await gateway.tell(victim, "GET"))[0] == 200


async def test_the_log_tells_where_it_was_revoked_whoever_follows_meanwhile(
    gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, loop = gateway.network.apply_leases, asyncio.get_running_loop()

    def ticking() -> Any:
        asyncio.run_coroutine_threadsafe(gateway.service.revoker.follow(), loop).result(10)
        return apply()

    monkeypatch.setattr(gateway.network, "apply_leases", ticking)
    assert await hybridnet("revoke", "spoke-1") == 0
    assert [line["source"] for line in gateway.audit() if line["event"] == "revoke"] == ["command"]


async def test_a_full_disk_cuts_off_all_the_same_and_says_what_to_do(
    gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = files.write

    def full(path: Path, document: dict[str, Any]) -> None:
        if path.name == "revocations.json":
            raise OSError(28, "No space left on device")
        write(path, document)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        assert await hybridnet("revoke", "spoke-1") == 1
        assert "make room" in capsys.readouterr().err
        assert SPOKE[1] not in gateway.peers()
    gateway.service.wake()
    await gateway.until((gateway.state / "revocations.json").exists, "another try")


async def test_what_another_gateway_revoked_by_key_is_barred_by_instance_here(gateway: PoolGateway) -> None:
    member = await joined(gateway)
    assert member.answer
    gateway.network.revocations.merge([Revocation(member.answer.name, 5, (member.public_key,), reason="stolen")])
    gateway.service.wake()
    await gateway.until(lambda: not gateway.live(), "the lease's end")
    assert (await gateway.join(Member(member.instance, keys=key_pair())))[0] == 403
    assert [line["source"] for line in gateway.audit() if line["event"] == "revoke"] == ["another gateway"]
