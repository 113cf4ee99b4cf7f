"""How a gateway changes its own WireGuard key, and follows the others that change theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from node import files
from node.gateway.lease import Refusal
from node.log import say
from node.network_words import NO_KEYS, Keys
from node.reconcile import Wanted
from node.tunnels.schedule import is_due
from node.tunnels.tunnels import Place, Tunnels
from overlay.model import EXTERNAL, Node

if TYPE_CHECKING:
    from node.gateway.network import Network
    from node.gateway.rosters import Kept
    from node.neighbour_document import Neighbour
    from node.network_words import Report

DEADLINE_SECONDS = 120.0
"""How long a change of the gateway's key waits for those who answer but do not come along."""
HOLD_SECONDS = 1.0
"""How long everybody sends by the same interface before the other one changes: what is on its way arrives."""
SETTLE_SECONDS = 10.0
"""From the start until the gateway goes on with its own key: before that it knows not who answers."""
TURN_SECONDS = 600.0
"""How long a change of another's key is waited for: whoever died in the middle of one keeps nobody from theirs."""
RULES = Path("/etc/nftables.conf")
_REMEDY = "The gateway goes on; ask again for the rotations that it had yet to do."


class Tell(Protocol):
    """Writes a line of the audit log."""

    def __call__(self, event: str, **fields: str | float | None) -> None: ...


def _untold(event: str, **fields: str | float | None) -> None:
    """Before there is an audit log."""


def takes_second(rules: Path = RULES) -> bool:
    """Whether this gateway's first boot lets packets in by the second interface."""
    try:
        return "define tunnels" in rules.read_text()
    except OSError:
        return False


class Rotation:
    """The keys of the gateway ``name`` and of those who hang on it. One caller at a time, but for what only looks.

    ``state`` is its state folder; ``is_able`` says whether its rules know the second interface; ``wall`` are seconds
    since 1970, ``ticks`` a clock that is never set.
    """

    def __init__(
        self,
        tunnels: Tunnels,
        name: str,
        state: Path,
        *,
        is_able: bool = True,
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tunnels = tunnels
        self.tell: Tell = _untold
        self.healthy: Set[IPv4Address] = frozenset()
        """Who answers now, as far as the gateway's probes say."""
        self.keys: Mapping[str, Keys] = {}
        """By name, the keys of those who use others than their enrolment keys. Replaced, never changed."""
        self._name = name
        self._path = state / "rotate.json"
        self._is_able = is_able
        self._wall = wall
        self._ticks = ticks
        self._wanted: dict[str, int] = {}
        self._identities: dict[str, str] = {}
        self._lock = threading.Lock()
        """Over what is wanted, which is asked for in one thread and fulfilled in another."""
        self._turns: dict[str, float] = {}
        """By name, since when its key has been changing."""
        self._shown: tuple[object, object, Keys, dict[str, Keys]] | None = None
        self._known: object = None
        self._started = self._since = ticks()
        self._agreed: float | None = None
        self._told: set[str] = set()
        self.missing: tuple[str, ...] = ()
        """Who has yet to come along with a change of this gateway's own key."""

    def load(self) -> None:
        """Read which keys are yet to be changed, and the gateway's own."""
        try:
            document = files.read(self._path, _REMEDY)
            found: object = {} if document is None else document.get("wanted")
            wanted = cast("dict[str, object]", found) if isinstance(found, dict) else {"": None}
            self._wanted = {name: each for name, each in wanted.items() if isinstance(each, int)}
            if len(self._wanted) != len(wanted):
                raise files.StateError(self._path, "no times in it", _REMEDY)
        except files.StateError as error:
            files.put_aside(error)

    # What others are told.

    @property
    def own(self) -> Keys:
        """This gateway's own keys: new ones when its interfaces have them, so that whoever calls is answered."""
        found = self.tunnels.view.own
        return self.tunnels.own.keys if found is None else found

    @property
    def is_on(self) -> bool:
        """Whether anybody's key changes here now, so that there is something to do all the time."""
        return self.tunnels.own.is_turning or bool(self.tunnels.book.turning())

    def shown(self, network: Network) -> dict[str, Keys]:
        """By name, the keys that every node is told: of gateways, and in a mesh of all."""
        kept = network.rosters.kept
        if kept is None:
            return {}
        # Each node is compared with these all the time.
        keys, own, shown = self.keys, self.own, self._shown
        if shown is None or shown[0] is not keys or shown[1] is not kept or shown[2] != own:
            self._shown = shown = keys, kept, own, self._told_of(kept, keys, own)
        return shown[3]

    def _told_of(self, kept: Kept, known: Mapping[str, Keys], own: Keys) -> dict[str, Keys]:
        is_mesh = kept.roster.network.topology == "mesh"
        found: dict[str, Keys] = {name: keys for name, keys in known.items() if name in kept.gateways}
        if is_mesh:
            found |= {name: Keys(keys.first) for name, keys in known.items() if name not in found and keys.first}
        return found if own == NO_KEYS else {**found, self._name: own}

    def applied(self, identity: str) -> Keys:
        """The keys of another as this gateway's interfaces have them."""
        return self.tunnels.view.applied.get(identity, NO_KEYS)

    def is_on_second(self, identity: str) -> bool:
        return identity in self.tunnels.view.on_second

    def identity(self, name: str) -> str:
        """The enrolment key of a node; empty for one that there is not."""
        return self._identities.get(name, "")

    def gateways_on_second(self, network: Network) -> list[str]:
        """The other gateways to which this one sends by the second interface."""
        gateways = (node for node in network.whole.nodes() if node.role == "gateway")
        return sorted(node.name for node in gateways if self.is_on_second(node.public_key))

    def rotate_asked(self, name: str) -> int:
        """When somebody asked for a change of the node's key (ms since 1970) that it has yet to make, else 0."""
        return self._wanted.get(name, 0)

    def is_anothers(self, name: str, keys: Keys) -> bool:
        """Whether one of these is the key of anybody but the node ``name``."""
        mine = {key for key in (keys.first, keys.second) if key}
        own = self.tunnels.own
        others = [Keys(own.identity), own.keys, *(each for other, each in self.keys.items() if other != name)]
        taken = {key for each in others for key in (each.first, each.second)}
        return not mine.isdisjoint(taken.union(self._identities.values()))

    def used(self, identities: Iterable[str]) -> dict[str, str]:
        """By enrolment key, what this gateway and others use in the place of these."""
        own = self.tunnels.own
        found = {identity: self.tunnels.book.first(identity) for identity in identities}
        if own.identity in found and own.keys.first:
            found[own.identity] = own.keys.first
        return {identity: key for identity, key in found.items() if key != identity}

    # What is asked for.

    def ask(self, network: Network, names: Iterable[str]) -> list[str]:
        """Have the keys of these nodes changed, this gateway's among them; their names. Refusal, OSError."""
        kept = network.rosters.kept
        if kept is None:
            raise Refusal(503, "no roster yet", 2)
        nodes = {node.name: node for node in network.whole.nodes()}
        asked = sorted(set(names))
        for name in asked:
            node = nodes.get(name)
            if node is None:
                raise Refusal(404, f"there is no node {name}; `hybridnet status` shows which there are")
            if node.role == "gateway" and name != self._name:
                raise Refusal(409, f"{name} is a gateway: run `hybridnet rotate {name}` there")
            where = self._name if node.role == "gateway" else network.whole.gateway_of(node)
            if where != self._name:
                raise Refusal(409, f"{name} hangs on {where}: run `hybridnet rotate {name}` there")
            if kept.roster.network.site(node.site).cloud == EXTERNAL and network.reports.of(name) is None:
                raise Refusal(409, f"{name} runs no agent that could change its key: its owner has to")
        if asked and not self._is_able:
            raise Refusal(409, f"{RULES} knows no second interface: raise this gateway's `revision` to make it anew")
        now = int(self._wall() * 1000)
        with self._lock:
            wanted = {**{name: at for name, at in self._wanted.items() if name in nodes}, **dict.fromkeys(asked, now)}
            files.write(self._path, {"wanted": wanted})
            self._wanted = wanted
        return asked

    def _fulfil(self, names: Set[str]) -> None:
        """Ask for these no more; OSError, then only until the next start."""
        with self._lock:
            if names & self._wanted.keys():
                self._wanted = {name: at for name, at in self._wanted.items() if name not in names}
                files.write(self._path, {"wanted": self._wanted})

    def forget(self, network: Network, name: str) -> None:
        """Have a machine that joins anew use its enrolment key again, as it does itself."""
        report = network.reports.of(name)
        if report is not None and report.keys != NO_KEYS:
            stamp = max(report.stamp + 1, int(self._wall() * 1000))
            network.take_reports([replace(report, stamp=stamp, keys=NO_KEYS, on_second=False)])

    # What is done.

    def know(self, network: Network) -> None:
        """Take in what nodes and gateways say of their keys, before the interface is looked at."""
        late = frozenset(name for name, since in self._turns.items() if self._ticks() - since > TURN_SECONDS)
        version = network.reports.version, network.neighbours.version, network.whole.version, late
        if version == self._known:
            return
        is_first, self._known = self._known is None, version
        nodes = network.whole.nodes()
        self._identities = {node.name: node.public_key for node in nodes}
        # Those that were made beside another enrolment key are over with it.
        of: dict[str, Report | Neighbour] = {**network.reports.all(), **network.neighbours.answers}
        said = {
            name: each.keys
            for name, each in of.items()
            if each.keys != NO_KEYS and name != self._name and each.identity == self._identities.get(name)
        }
        own = self.tunnels.own.keys
        taken = {*self._identities.values(), *(key for key in (own.first, own.second) if key)}
        found: dict[str, Keys] = {}
        before = self.keys
        turns = {name for name, keys in said.items() if keys.second is not None}
        self._turns = {name: self._turns.get(name, self._ticks()) for name in turns}

        def rank(name: str) -> tuple[bool, bool, str]:
            """Gateways and who has a key already come before who claims it."""
            return name not in network.neighbours.answers, name not in before, name

        for name in sorted(said, key=rank):
            keys, mine = said[name], {key for key in (said[name].first, said[name].second) if key}
            if mine & taken:
                self._say(f"{name} says that it uses a key of somebody else's, which is not believed")
                continue
            taken |= mine
            found[name] = keys if self._is_able and name not in late else Keys(keys.first)
        self.keys = found
        self.tunnels.know({self._identities[name]: keys for name, keys in found.items()})
        if is_first:
            return
        changed = {name for name, keys in found.items() if keys.first not in (None, before.get(name, NO_KEYS).first)}
        try:
            self._fulfil(changed)
        except OSError as error:
            self._say(f"which keys are to be changed cannot be written: {error}")
        for name in sorted(found.keys() | before.keys()):
            old, new = before.get(name, NO_KEYS), found.get(name, NO_KEYS)
            if old.first != new.first and name in self._identities:
                self.tell("rotate", node=name, public_key=new.first or self._identities[name])

    def follow(self, network: Network, desired: Mapping[str, Wanted]) -> None:
        """Have the second interface as it is needed, and go on with a change of this gateway's own key."""
        kept = network.rosters.kept
        if kept is None:
            return
        me = kept.roster.node(self._name)
        place = Place.of(kept.roster, me)
        self.tunnels.follow(desired, place, {node.public_key for node in kept.gateways.values()})
        try:
            self._step(network, me, desired)
        except OSError as error:
            self._say(f"the gateway's keys cannot be written: {error}")

    def _step(self, network: Network, me: Node, desired: Mapping[str, Wanted]) -> None:
        own = self.tunnels.own
        if self._ticks() - self._started < SETTLE_SECONDS:
            return
        gateways = (node for node in network.whole.nodes() if node.role == "gateway")
        turning = [node for node in gateways if self.keys.get(node.name, NO_KEYS).second is not None]
        if not own.is_turning:
            self.missing = ()
            if self._is_able and not self.tunnels.book.turning() and not turning and self._is_due(network):
                own.begin()
                self._since, self._agreed = self._ticks(), None
                self.tell("rotate", node=self._name, phase="begin")
                say("this gateway changes its WireGuard key")
            return
        self.missing = tuple(self._missing(network, desired))
        if not own.is_back and any(node.address < me.address for node in turning):
            own.end()
            say("this gateway keeps its WireGuard key for now: another gateway changes its own first")
            return
        if self.missing and self._ticks() - self._since < DEADLINE_SECONDS:
            self._agreed = None
            return
        if self._agreed is None:
            self._agreed = self._ticks()
        if self._ticks() - self._agreed < HOLD_SECONDS:
            return
        if self.missing:
            say(f"these do not come along with the change of this gateway's key: {', '.join(self.missing)}")
        self._agreed, self._since = None, self._ticks()
        if not own.is_back:
            own.turn()
            self.tell("rotate", node=self._name, public_key=own.keys.first, phase="turn")
        else:
            self._fulfil({self._name})
            own.end()
            self.tell("rotate", node=self._name, public_key=own.keys.first, phase="end")
            say("this gateway has another WireGuard key now; the one before is of no use any more")

    def _is_due(self, network: Network) -> bool:
        own = self.tunnels.own
        identity = own.identity
        if identity is None:
            return False
        if self._name in self._wanted:
            return True
        if not is_due(identity, own.made, int(self._wall() * 1000)):
            return False
        plain = self._without_agent(network)
        if plain:
            who = ", ".join(plain)
            self._say(f"the gateway's key is due, but {who} would be cut off; `hybridnet rotate` does it all the same")
        return not plain

    def _without_agent(self, network: Network) -> list[str]:
        """Who hangs here and has no agent that would come along."""
        hanging = network.hanging_here()
        return [name for name in sorted(hanging) if network.reports.of(name) is None]

    def _missing(self, network: Network, desired: Mapping[str, Wanted]) -> Iterable[str]:
        """Who answers, and is not where everybody is to be by now: on the second interface, or back on the first."""
        is_back, hanging = self.tunnels.own.is_back, network.hanging_here()
        for node in network.whole.nodes():
            if node.name == self._name or node.public_key not in desired or node.address not in self.healthy:
                continue
            if node.role == "gateway":
                answer = network.neighbours.answers.get(node.name)
                theirs = answer is not None and self._name in answer.on_second
            elif node.name in hanging:
                report = network.reports.of(node.name)
                theirs = report is not None and report.on_second
            else:
                continue
            ours = self.is_on_second(node.public_key)
            if (ours or theirs) if is_back else not (ours and theirs):
                yield node.name

    @property
    def public_key(self) -> str | None:
        """The WireGuard key (base64) that the gateway uses now; None while nobody has read it."""
        return self.tunnels.own.keys.first or self.tunnels.own.identity

    def status(self, network: Network) -> dict[str, Any]:
        """``rotation`` of ``GET /v1/status``; times in seconds since 1970.

        Of those who hang here ``agents`` can be asked to change their keys, and ``plain`` have yet to say anything.
        """
        own = self.tunnels.own
        return {
            "key_made": round(own.made / 1000, 3),
            "public_key": self.public_key,
            "phase": "back" if own.is_back else "out" if own.is_turning else None,
            "missing": list(self.missing),
            "agents": sorted(name for name in network.hanging_here() if network.reports.of(name) is not None),
            "plain": self._without_agent(network),
            "nodes": {
                name: {"public_key": keys.first, "is_turning": keys.second is not None}
                for name, keys in sorted(self.keys.items())
            },
        }

    def _say(self, text: str) -> None:
        """Say it once."""
        if text not in self._told:
            self._told.add(text)
            say(text)
