"""The agent's main loop: one round every few seconds, and at once when the cloud takes the machine back."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from node import keys
from node.config import Config, Membership
from node.control import ControlPlane
from node.exporter.node import exporter
from node.follow import Follower
from node.health.reporter import Reporter
from node.joining import Answer, JoinError, Proof, Request
from node.log import say
from node.network.agent import Myself, Parts
from node.network.running import network
from node.pool.client import Backoff, Client, RefusalError
from node.pool.drain import Farewell
from node.pool.state import Departure, Identity, State
from node.pool.system import SETUP, System
from node.pool.tunnel import Tunnel, configuration
from node.pool.watch import Cloud, Watcher
from node.pulse import Pulse
from node.trust.trust import Trust
from node.wireguard import WireGuardError
from node.workers import Beat, Workers

POLL_SECONDS = 10.0
"""Between two questions after the lease; a whole pool asks."""
SILENCE_SECONDS = 15.0
"""Without an answer through the tunnel for this long the machine asks on the internet, too."""
SHUTDOWN_SECONDS = 20.0
"""To drain in when the machine shuts down; stage 0 and systemd wait for longer (cloudinit/kit/pool.conf)."""
AT_RISK_WEIGHT = 10
"""Of 100: what a machine is to be given that may be taken before long."""
UNWANTED_SECONDS = 900.0
"""After so long a machine that never got in, since the gateway does not know its token, makes room for another."""
_PASSING = ("round", "lease", "join")
"""Problems that are over when the gateway answers through the tunnel."""
_SLICE = 0.2


class Agent:
    """A pool machine's agent; ``terminated`` is set by a signal, ``stop`` for a newer release or a thread that failed.

    No signal handler may touch ``stop``: it could wait for a lock that the interrupted code holds.
    """

    def __init__(
        self,
        config: Config,
        membership: Membership,
        pulse: Pulse,
        system: System,
        cloud: Cloud,
        tunnel: Tunnel,
        parts: Parts,
        own: int,
    ) -> None:
        self.terminated = False
        self.stop = threading.Event()
        self._config = config
        self._pulse = pulse
        self._system = system
        self._cloud = cloud
        self._tunnel = tunnel
        self._state = State(config.state)
        trust = Trust.of(config)
        trust.load()
        self._client = Client(config, membership, trust)
        self._network = network(config, trust, parts, self._myself, lambda: None, self.stop)
        self._exporter = exporter(self._network, "pool", own)
        self._watcher = Watcher(cloud, self.stop)
        self._reporter = Reporter(
            lambda: [ControlPlane(host, config.control[1], trust.tls) for host in self._network.agent.controls()],
            self.stop,
        )
        self._follower = Follower(config, trust, own, self._gateways, self.stop)
        self._backoff = Backoff()
        self._instance_id = ""
        self._boot = ""
        self._heard = 0.0
        self._shutdown: float | None = None
        self._refused: float | None = None
        self._is_hung = False
        self._workers = Workers(self.stop)
        self._problems: dict[str, str] = {}
        self._is_risk_taken_in = False
        self._port: int | None = None
        """Where requests come to this machine, once the gateway has said so."""

    def run(self) -> int:
        """Until the end; the exit status. OrphanedError without stage 0."""
        try:
            self._begin()
            for run in self._helpers():
                self._workers.start(run)
            while not self._ends():
                self._pause(self._round())
            if self._shuts_down():
                self._end_with_the_machine()
        finally:
            self._network.end()
            self._workers.join(1.0)
        return int(self._workers.is_failed or self._is_hung)

    def _helpers(self) -> tuple[Callable[[Beat], None], ...]:
        watching, following = (self._watcher.run, self._reporter.run), (self._follower.run, self._exporter.run)
        return *watching, *following, self._network.rounds, self._network.questions

    def _gateways(self) -> list[ControlPlane]:
        """Whom to ask for a release: a machine that cannot join gets what mends that on the internet."""
        lease = self._state.lease
        return [self._client.overlay(lease), *self._client.public] if lease else self._client.public

    def _myself(self) -> Myself | None:
        """Who this machine is in the network, while it has a lease and a tunnel."""
        lease = self._state.lease
        if lease is None or self._state.has_ended or not self._system.has_interface():
            return None
        return Myself(lease.name, lease.address, lease.control)

    def _begin(self) -> None:
        """The state, and the tunnel as it was before: a boot must not wait for the gateway."""
        self._pulse.beat()
        self._state.load()
        self._client.home = self._state.home
        self._boot = self._system.boot_id()
        if self._state.departure and self._state.departure.boot != self._boot:
            self._state.stay()
        self._recognize()
        # While the machine was away its lease may have ended: then no packet of its is answered, and it need not wait.
        self._heard = time.monotonic() if self._system.has_interface() else float("-inf")
        try:
            self._tunnel.restore()
        except WireGuardError as error:
            self._tell("tunnel", f"the tunnel does not start: {error}")

    def _round(self) -> float:
        """What is to be done now; the seconds to the next round."""
        self._is_risk_taken_in = self._watcher.sight.at_risk
        if not self._instance_id:
            self._recognize()
        try:
            self._take_notice()
            departure = self._state.departure
            if departure is None:
                return self._keep()
            if not departure.left:
                if self._leave(departure):
                    self._state.depart(replace(departure, left=True))
                elif time.monotonic() < departure.deadline:
                    return 1.0
                # Else the time is over: nothing waits for the leave any more, though it is still tried.
            notice = self._watcher.sight.notice
            if notice and notice.power_off:
                say("the machine powers off")
                self._system.power_off()
        except (OSError, WireGuardError) as error:
            self._tell("round", str(error))
        return POLL_SECONDS

    def _take_notice(self) -> None:
        notice = self._watcher.sight.notice
        if notice and self._state.departure is None:
            say(f"{notice.reason}: this machine drains and leaves")
            self._state.depart(Departure(self._boot, notice.reason, time.monotonic() + notice.seconds))

    def _keep(self) -> float:
        """Be in the network."""
        lease = self._state.lease
        if lease is None or self._state.has_ended or not self._tunnel.is_configured:
            return self._join()
        try:
            self._tunnel.restore()
            found = self._client.lease(lease)
        except RefusalError as error:
            if error.status in {403, 404}:
                say(f"the gateway has forgotten this machine: {error}")
                self._state.keep(lease, has_ended=True)
                return self._backoff.next()
            return self._unanswered(str(error))
        except (OSError, JoinError, WireGuardError) as error:
            return self._unanswered(str(error))
        self._heard, self._port = time.monotonic(), found.port
        self._backoff.reset()
        for about in _PASSING:
            self._problems.pop(about, None)
        if found.state != "active":
            return self._renew(lease)
        self._set_up()
        if self._watcher.sight.at_risk and found.weight > AT_RISK_WEIGHT:
            self._weigh(lease)
        return POLL_SECONDS * random.uniform(0.8, 1.2)

    def _unanswered(self, problem: str) -> float:
        self._tell("lease", f"no answer through the tunnel: {problem}")
        if time.monotonic() - self._heard > SILENCE_SECONDS:
            return max(self._join(), 1.0)
        return random.uniform(0.5, 1.5)

    def _renew(self, lease: Answer) -> float:
        """Get another lease instead of one that a departure began to end, and did not."""
        say("the lease is draining, but this machine works: it leaves and joins again")
        if self._farewell(lease, "the machine works again").leave():
            self._state.keep(lease, has_ended=True)
        # The gateway still needs a moment to take the machine out.
        return 1.0 + self._backoff.next()

    def _weigh(self, lease: Answer) -> None:
        try:
            self._client.weigh(lease, AT_RISK_WEIGHT, "the cloud may take the machine before long")
        except (OSError, RefusalError, JoinError) as error:
            self._tell("weight", f"the weight cannot be lowered: {error}")

    def _join(self) -> float:
        """Join; for a machine that the gateway knows this changes nothing. The seconds to the next round."""
        try:
            identity = self._identify()
            public_key, lease = keys.public_key(identity.private_key), self._state.lease
            pool, instance_id = self._config.name, identity.instance_id
            proof = self._proof(public_key)
            ticket = lease.ticket if lease else None
            self._pulse.beat()
            request = Request(pool, public_key, instance_id, None, ticket, proof)
            answer = self._client.join(request, identity.private_key)
            if self._client.home:
                self._state.move(self._client.home)
            if answer != lease or not self._tunnel.is_configured:
                self._pulse.beat()
                self._tunnel.keep(configuration(identity.private_key, answer))
                say(f"joined as {answer.name} at {answer.address}")
            self._network.agent.join(answer.name, answer.peers, _moved(lease, answer), answer.keys)
            self._state.keep(answer)
        except RefusalError as error:
            self._tell("join", f"cannot join: {error}")
            self._make_room(error.status)
            return self._backoff.next(error.retry_after)
        except (OSError, JoinError, WireGuardError) as error:
            self._tell("join", f"cannot join: {error}")
            return self._backoff.next()
        self._heard = time.monotonic()
        return 0.0

    def _proof(self, public_key: str) -> Proof | None:
        """The cloud's proof, asked for or not: the gateway knows whether it needs one, and that may change."""
        try:
            return self._cloud.proof(self._config.name, public_key)
        except OSError as error:
            self._tell("proof", f"the machine joins without a proof of what it is: {error}")
            return None

    def _make_room(self, status: int) -> None:
        """Power a machine off that never got in and has an old token: its group launches one with the present token.

        ``status`` is why it was refused. 429 says nothing of the token.
        """
        if status not in {403, 429}:
            self._refused = None
            return
        now = time.monotonic()
        self._refused = now if self._refused is None else self._refused
        # Whoever was in the network once has a ticket, or a tunnel that may work, and data perhaps.
        is_new = self._state.lease is None and not self._tunnel.is_configured
        if status != 403 or not is_new or not self._cloud.replaces or now - self._refused < UNWANTED_SECONDS:
            return
        try:
            is_token_refused = self._client.is_token_refused()
        except OSError:
            return
        if is_token_refused:
            say(
                f"the machine powers off: it never was in the network, and for {UNWANTED_SECONDS / 60:.0f} minutes the "
                "gateway has refused its join token; its group launches another machine, which gets the present token"
            )
            self._system.power_off()

    def _recognize(self) -> None:
        """Find out who this machine is, if the metadata service says so now; the tunnel stays as it is till then."""
        try:
            self._identify()
            self._problems.pop("identity", None)
        except (OSError, WireGuardError) as error:
            self._tell("identity", f"who this machine is cannot be found out yet: {error}")

    def _identify(self) -> Identity:
        """Who this machine is; a new key for a new one, and for one that began as an image of another."""
        if not self._instance_id:
            self._instance_id = self._cloud.instance_id()
        identity = self._state.identity
        if identity is None or identity.instance_id != self._instance_id:
            self._tunnel.forget()
            identity = Identity(self._instance_id, keys.new())
            self._state.become(identity)
        return identity

    def _set_up(self) -> None:
        """Start the user's setup, once the tunnel works; one that failed is tried again after the next boot."""
        if self._state.is_set_up or not (self._config.files / "setup").exists():
            return
        try:
            if self._system.state(SETUP) == "inactive":
                say("the setup starts")
                self._system.start(SETUP)
        except WireGuardError as error:
            self._tell("setup", f"the setup cannot run: {error}")

    def _farewell(self, lease: Answer, reason: str) -> Farewell:
        has_hook = (self._config.files / "drain").exists()
        return Farewell(self._client, self._system, lease, reason, self._tell, port=self._port, has_hook=has_hook)

    def _leave(self, departure: Departure) -> bool:
        """Drain and leave; False when that is not through yet."""
        lease = self._state.lease
        if lease is None:
            return True
        farewell = self._farewell(lease, departure.reason)
        if not farewell.drain(lambda: self._limit(departure), partial(self._wait, 0.5)) or not farewell.leave():
            return False
        self._state.keep(lease, has_ended=True)
        return True

    def _limit(self, departure: Departure) -> float | None:
        """Until when to drain; None when another process goes on with it."""
        if not self._ends():
            return departure.deadline
        if self._shuts_down() and self._shutdown is not None:
            return min(departure.deadline, self._shutdown + SHUTDOWN_SECONDS)
        return None

    def _end_with_the_machine(self) -> None:
        """Leave, too. What is remembered is for the time until a boot, so there is nothing to remember."""
        departure = self._state.departure or self._shutdown_departure()
        if not departure.left:
            self._leave(departure)

    def _shutdown_departure(self) -> Departure:
        """A shutdown, for the reason that the cloud may have just given: Compute Engine's notice comes with it."""
        try:
            notice = self._cloud.look().notice
        except OSError:
            notice = None
        reason = notice.reason if notice else "the machine shuts down"
        return Departure(self._boot, reason, time.monotonic() + SHUTDOWN_SECONDS)

    def _ends(self) -> bool:
        return self.terminated or self.stop.is_set()

    def _shuts_down(self) -> bool:
        """Whether the agent ends because its machine does, and not for a restart of the service."""
        if self.terminated and self._shutdown is None:
            try:
                if self._system.is_stopping():
                    self._shutdown = time.monotonic()
            except WireGuardError as error:
                say(f"whether the machine shuts down cannot be found out: {error}")
        return self._shutdown is not None

    def _pause(self, seconds: float) -> None:
        """Wait for that long, or until there is something to do."""
        end = time.monotonic() + seconds
        while not self._ends() and time.monotonic() < end:
            sight = self._watcher.sight
            if (sight.notice and self._state.departure is None) or (sight.at_risk and not self._is_risk_taken_in):
                return
            self._wait(_SLICE)

    def _wait(self, seconds: float) -> None:
        if not self._is_hung and (hung := self._workers.hung()):
            say(f"{hung} hangs, so this release ends")
            self._is_hung = True
            self.stop.set()
        self._pulse.beat()
        time.sleep(seconds)

    def _tell(self, about: str, problem: str) -> None:
        """Say what is wrong, once until it is something else."""
        if problem != self._problems.get(about):
            say(problem)
        self._problems[about] = problem


def _moved(before: Answer | None, answer: Answer) -> set[str]:
    """The public keys of the peers that stand elsewhere now."""
    known = {peer.public_key: peer.endpoint for peer in before.peers} if before else {}
    return {each.public_key for each in answer.peers if known.get(each.public_key, each.endpoint) != each.endpoint}
