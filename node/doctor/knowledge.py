"""What this machine should be, as far as it knows: by the network's document, or by first boot's files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

from node import files
from node.config import Config
from node.doctor import probe
from node.doctor.facts import Expected
from node.doctor.machine import ToolError, run
from node.firewall import NftTool, desired_sets, observed_sets
from node.joining import POSSESSION, Answer, JoinError, parse_answer, possession
from node.keys import public_key
from node.network import tunnel_file
from node.network.kept import Kept, State, accept
from node.network.plan import keys_in_use, make, target_of
from node.network_document import LIMIT, Request, parse_document, request_body
from node.network_words import DocumentError
from node.trust.trust import Trust
from node.tunnels.book import Book
from node.tunnels.enrolment import Enrolment
from node.tunnels.own import KEYS
from node.wireguard import PeerState, WgTool
from overlay.model import CONTROL_PORT, EXTERNAL, Node, gateways_of
from overlay.roster import Roster
from overlay.topology import TopologyError

_PATH = "/v1/network"


@dataclass(frozen=True)
class Known:
    """A peer as it should be; ``endpoint`` is where this machine calls it."""

    name: str
    role: str
    address: IPv4Address
    public_key: str
    endpoint: str | None
    allowed: frozenset[str] = frozenset()
    may_be_off: bool = False


@dataclass(frozen=True)
class Knowledge:
    """``keys`` are those of everybody in the network, ``others`` nodes behind the gateway that answer pings; ``kept``
    is the document that all of this comes from on spokes, ``roster`` None where there is none yet; ``book`` has the
    keys that others use in the place of their enrolment keys."""

    name: str
    expected: Expected
    peers: tuple[Known, ...]
    trust: Trust
    keys: frozenset[str] = frozenset()
    roster: Roster | None = None
    nodes: Sequence[Node] = ()
    kept: Kept | None = None
    lacking: tuple[str, ...] = ()
    others: tuple[tuple[str, IPv4Address], ...] = ()
    book: Book = field(default_factory=Book)


def interface_keys(state: Path, known: Knowledge, interface: str) -> tuple[str, Mapping[str, PeerState]]:
    """The interface's own public key and its peers, by the keys that the network's document has: those of enrolment.

    A key that this machine or a peer has changed to, and that is right, is thus its enrolment key here.
    """
    shown = run("wg", "show", interface, "public-key").strip()
    enrolment = Enrolment(tunnel_file.path())()
    if enrolment is not None and shown == public_key(_in_use(state, enrolment)):
        shown = public_key(enrolment)
    return shown, by_identity(known.book, WgTool(interface).peers())


def by_identity(book: Book, peers: Mapping[str, PeerState]) -> Mapping[str, PeerState]:
    """The peers by their enrolment keys; one that stands there with a key that it uses no more, by a note of that."""
    return {
        book.identity(key) or (f"{key} (its key of before)" if key in book.all() else key): peer
        for key, peer in peers.items()
    }


def _in_use(state: Path, enrolment: str) -> str:
    """The private key that the interface is to have, by the file in which the agent keeps those that it makes."""
    try:
        held = files.read(state / KEYS, "") or {}
    except files.StateError:
        return enrolment
    is_own = held.get("identity") == public_key(enrolment)
    return str(held.get("first") or enrolment) if is_own else enrolment


def of(config: Config) -> Knowledge:
    """What is known on this machine; nothing raises."""
    return _of_gateway(config) if config.role == "gateway" else _of_spoke(config)


def _expected(roster: Roster | None, nodes: Sequence[Node], me: Node | None, mtu: int | None = None) -> Expected:
    return Expected(
        None if me is None else me.address,
        None if me is None else me.public_key,
        roster.mtu if roster else mtu,
        roster.number if roster else 0,
        is_listed=roster is None or me is not None,
        is_revoked=roster is not None and me is not None and me.public_key in roster.revoked_keys,
        domain=roster.network.domain if roster else "",
        others={node.address: node.name for node in nodes if me is None or node.name != me.name},
    )


def _may_be_off(roster: Roster, node: Node) -> bool:
    """Whether a node's silence is nobody's fault: a laptop's, or that of a pool's machine, which comes and goes."""
    sites = {site.name: site.cloud for site in roster.network.sites}
    return sites.get(node.site) == EXTERNAL or all(node.name != each.name for each in roster.nodes)


def _of_gateway(config: Config) -> Knowledge:
    from node.gateway.network import Network

    fallback = Expected(config.control[0], None, None)
    network = Network(config, WgTool(), NftTool())
    trust = network.trust
    try:
        network.load(read_only=True)
        desired, nodes = network.plan(), network.whole.nodes()
    except (files.StateError, OSError, TopologyError, ValueError) as error:
        return Knowledge(config.name, fallback, (), trust, lacking=(str(error),))
    finally:
        network.leases.close()
    kept = network.rosters.kept
    if kept is None:
        return Knowledge(
            config.name, fallback, (), trust, lacking=("the stack has not pushed a roster to this gateway yet",)
        )
    roster, by_key = kept.roster, {node.public_key: node for node in nodes}
    peers = [
        Known(
            node.name,
            node.role,
            node.address,
            key,
            peer.endpoint,
            peer.prefixes,
            _may_be_off(roster, node),
        )
        for key, peer in desired.items()
        if (node := by_key.get(key))
    ]
    me = next((node for node in nodes if node.name == config.name), None)
    expected = _expected(roster, nodes, me)
    said = {name: report.keys for name, report in network.reports.all().items()}
    said |= {name: answer.keys for name, answer in network.neighbours.answers.items()}
    book = Book({node.public_key: said[node.name] for node in nodes if node.name in said})
    return Knowledge(config.name, expected, tuple(peers), trust, frozenset(by_key), roster, nodes, book=book)


def wrong_sets(roster: Roster, name: str, listing: str) -> tuple[str, ...]:
    """The sets of a gateway's firewall that do not hold what the roster says; those that it lacks are not counted."""
    observed = observed_sets(listing)
    desired = desired_sets(roster, name)
    return tuple(each for each, elements in desired.items() if each in observed and observed[each] != elements)


def _lease(state: Path) -> Answer | None:
    try:
        document = files.read(state / "lease.json", "")
        return None if document is None or document["ended"] else parse_answer(str(document["answer"]).encode())
    except (files.StateError, OSError, KeyError, ValueError):
        return None


def _state(config: Config, trust: Trust) -> State:
    """The network's document on disk, read from a copy: one that cannot be read is the agent's to put aside."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "network.json"
        if (config.state / copy.name).exists():
            shutil.copyfile(config.state / copy.name, copy)
        state = State(copy, trust)
        state.load()
    return state


def _of_spoke(config: Config) -> Knowledge:
    trust = Trust.of(config)
    lease = _lease(config.state) if config.role == "pool" else None
    name = lease.name if lease else config.name
    try:
        trust.load(read_only=True)
        state = _state(config, trust)
    except OSError as error:
        return _first_boot(config, name, trust, lease, f"{config.state}: {error.strerror}")
    kept = state.kept
    if kept is None or kept.name != name:
        return _first_boot(config, name, trust, lease, "this machine has no document of the network")
    trust.believe(kept.roster.authorities)
    return of_kept(kept, trust, state.gateway) or _first_boot(config, name, trust, lease, "the network has no gateway")


def of_kept(kept: Kept, trust: Trust, gateway: str = "") -> Knowledge | None:
    """What a spoke knows by a document, if that has a gateway; ``gateway`` is the name of the one that it hangs on."""
    roster, nodes = kept.roster, kept.nodes
    me = next((node for node in nodes if node.name == kept.name), None)
    keys = frozenset(node.public_key for node in nodes)
    expected = _expected(roster, nodes, me)
    if me is None:
        known = [
            Known(node.name, node.role, node.address, node.public_key, node.endpoint) for node in gateways_of(nodes)
        ]
        return Knowledge(kept.name, expected, tuple(known[:1]), trust, keys, roster, nodes, kept)
    try:
        above = next((each for each in gateways_of(nodes) if each.name == gateway), None) or target_of(kept, me)
        peers = make(kept, nodes, me, above).peers(kept.document.links, frozenset())
    except (TopologyError, KeyError):
        return None
    wanted = peers[above.public_key]
    known = [Known(above.name, above.role, above.address, above.public_key, wanted.endpoint, wanted.prefixes)]
    others = [
        (node.name, node.address)
        for node in roster.nodes
        if node.role == "spoke" and node.name != me.name and not _may_be_off(roster, node)
    ]
    behind = () if roster.network.groups else tuple(others[:5])
    return Knowledge(
        kept.name, expected, tuple(known), trust, keys, roster, nodes, kept, others=behind, book=Book(keys_in_use(kept))
    )


def _first_boot(config: Config, name: str, trust: Trust, lease: Answer | None, why: str) -> Knowledge:
    """What first boot's configuration of the tunnel says, or the lease; ``why`` there is nothing better."""
    if lease is not None:
        peer = lease.peers[0]
        known = Known("the gateway", "gateway", lease.control, peer.public_key, peer.endpoint)
        return Knowledge(name, Expected(lease.address, None, lease.mtu), (known,), trust, lacking=(why,))
    try:
        found = tunnel_file.read(tunnel_file.path())
        own = run("wg", "pubkey", text=found.private_key).strip()
    except (tunnel_file.TunnelFileError, ToolError) as error:
        return Knowledge(name, Expected(None, None, None), (), trust, lacking=(why, str(error)))
    place, key = found.gateway
    known = Known("the gateway", "gateway", config.control[0], key, place)
    return Knowledge(name, Expected(found.address, own, None), (known,), trust, lacking=(why,))


def refreshed(config: Config, known: Knowledge, host: str) -> Knowledge:
    """What the gateway at ``host`` tells this machine on the internet, for whom nothing comes through the tunnel.

    Its refusal is in ``expected``; without an answer everything stays as it is. Pools' machines are not told so.
    """
    if config.role != "spoke" or not known.peers:
        return known
    try:
        own = tunnel_file.read(tunnel_file.path())
        body = request_body(Request(known.name))
        headers = {"Content-Type": "application/json"}
        headers[POSSESSION] = possession(own.private_key, known.peers[0].public_key, body)
    except (tunnel_file.TunnelFileError, JoinError):
        return known
    told = probe.ask(known.trust.tls, host, CONTROL_PORT, "POST", _PATH, body, headers, LIMIT)
    if told.reply is None:
        return known
    if told.reply.status == 403:
        return replace(known, expected=replace(known.expected, refusal="403, it is no node's key"))
    if told.reply.status != 200:
        return known
    try:
        kept = accept(known.name, parse_document(told.reply.body), known.kept, known.trust.is_signed)
    except DocumentError:
        return known
    return of_kept(kept, known.trust, known.peers[0].name) or known


def pair_of_names(known: Knowledge) -> tuple[str, str]:
    """A name of the overlay and its address, that of the gateway; empty where there are no names."""
    gateway = next((node for node in known.nodes if node.role == "gateway" and _is_nearest(node, known)), None)
    if gateway is None or known.roster is None:
        return "", ""
    return f"{gateway.name}.{gateway.site}.{known.roster.network.domain}", str(gateway.address)


def _is_nearest(node: Node, known: Knowledge) -> bool:
    return node.name == known.name or any(peer.name == node.name for peer in known.peers)
