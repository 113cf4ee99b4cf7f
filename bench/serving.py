"""Machines of a local cloud that serve, what their gateway says of them, and requests to it from the desk."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from bench.load import Outcome, Task
from bench.place import PATIENCE, Place
from bench.stacks import ROOT
from overlay.serving import SERVING_PORT

EXAMPLE = ROOT / "examples" / "inference"
FOLDER = "/opt/inference"
GATEWAY = "hetzner-gw"
GATEWAY_ADDRESS = "10.100.0.1"
FILES_NODE, FILES_ADDRESS = "hetzner-1", "10.100.1.1"
"""The machine that pools' machines get the server from."""
LOG = "/var/log/nginx/inference.log"
COMPLETIONS = "/v1/completions"
PROMPT = {"prompt": "Why is the sky blue?"}

POOL_SETUP = f"""\
mkdir -p {FOLDER} && cd {FOLDER}
for file in server.py inference.service install.sh; do
  curl -fsS --retry 60 --retry-all-errors --retry-delay 1 -O "http://{FILES_ADDRESS}:8080/$file"
done
name=$(ip -4 -o address show wg0 | sed 's,.*inet \\([0-9.]*\\)/.*,\\1,')
printf '%s\\n' "INFERENCE_OPTIONS=--name $name --slots 256 --linger 0" > /etc/default/inference
sh install.sh
"""
"""A pool's `userSetup`. Its machines drain before their server is told to stop, so that need not linger."""


def until(what: str, condition: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """When the condition held, seconds since the epoch; RuntimeError naming `what` when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return time.time()


@dataclass(frozen=True)
class Served:
    """A line of the gateway's access log: the status it answered and the machines it tried, the last one last."""

    status: int
    upstreams: tuple[str, ...]


class Serving:
    """An instance whose gateway is a load balancer."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def install(self, node: str, address: str, options: str = "") -> None:
        """Put the inference server on a machine, and start it. The overlay address is what it answers as."""
        self.place.copy(EXAMPLE, node, FOLDER)
        said = f"INFERENCE_OPTIONS=--name {address} --slots 256 {options}"
        put = f"printf '%s\\n' \"$0\" > /etc/default/inference; sh {FOLDER}/install.sh"
        self.place.execute(node, "sh", "-c", put, said)

    def say(self, node: str, *, healthy: bool) -> None:
        """Have a machine's server say from now on that it is healthy, or not."""
        self.place.execute(node, "systemctl", "kill", "--signal", "USR2" if healthy else "USR1", "inference")

    def remove(self, node: str) -> None:
        """Take the inference server off a machine, and what gives it to others."""
        end = "systemctl kill -s KILL inference files; systemctl disable -q --now inference"
        self.place.execute(node, "sh", "-c", f"{end}; rm -r {FOLDER} /etc/default/inference")

    def give_files(self) -> None:
        """Have the machines of pools find the server where their setup looks for it."""
        self.place.copy(EXAMPLE, FILES_NODE, FOLDER)
        serve = ("python3", "-m", "http.server", "--bind", FILES_ADDRESS, "--directory", FOLDER, "8080")
        self.place.execute(FILES_NODE, "systemd-run", "--quiet", "--collect", "--unit", "files", *serve)

    @cached_property
    def _outputs(self) -> Mapping[str, Any]:
        return self.place.secret_outputs()

    @property
    def address(self) -> str:
        """Where the gateway takes requests, `host:port`."""
        return f"{self._outputs['wg_gateway_ip']}:{SERVING_PORT}"

    @property
    def ca_pem(self) -> str:
        """Whom to trust there."""
        return str(self._outputs["load_balancer"]["ca"])

    def task(self, body: Mapping[str, Any], **how: Any) -> Task:
        """Requests to the gateway; `how` is the rest of the `Task`."""
        return Task(f"https://{self.address}{COMPLETIONS}", self.ca_pem, {**PROMPT, **body}, **how)

    def certificate(self) -> str:
        """The certificate that the gateway shows at the desk, PEM."""
        show = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], int(sys.argv[2]))))"
        return self.place.run("run", "--", sys.executable, "-c", show, *self.address.split(":"))

    def _said(self) -> dict[str, Any]:
        ask = ("curl", "-sS", "--fail", "-k", f"https://{GATEWAY_ADDRESS}:8443/v1/status")
        return json.loads(self.place.execute(GATEWAY, *ask))

    def status(self) -> dict[str, Any]:
        """What the gateway's service says of its load balancer."""
        return self._said()["load_balancer"]

    def leases(self) -> set[str]:
        """The machines of pools whose leases have not ended, also those that drain."""
        return {lease["name"] for lease in self._said()["leases"]}

    def targets(self) -> dict[str, dict[str, Any]]:
        """What the gateway knows of each machine, by name."""
        return {target["name"]: target for target in self.status()["targets"]}

    def in_rotation(self) -> set[str]:
        """The machines that get requests."""
        return {name for name, target in self.targets().items() if target["in_rotation"]}

    def wait_for_rotation(self, what: str, condition: Callable[[set[str]], bool]) -> float:
        """When the machines that get requests were so, seconds since the epoch."""
        return until(what, lambda: condition(self.in_rotation()))

    def members(self, pool: str) -> list[str]:
        """The machines that run in a pool."""
        machines = json.loads(self.place.run("status", "--json"))["machines"]
        return [
            each["node"]
            for each in machines
            if each["node"].startswith(f"{pool}-") and each["state"] in ("running", "booting")
        ]

    def public_address(self, node: str) -> str:
        """The address that a machine has on the internet."""
        machines = json.loads(self.place.run("status", "--json"))["machines"]
        return next(str(each["addresses"][0]) for each in machines if each["node"] == node)

    def wait_for_members(self, pool: str, count: int) -> None:
        """Return when just so many machines of a pool get requests."""

        def arrived(names: set[str]) -> bool:
            return sum(name.startswith(f"{pool}-") for name in names) == count

        self.wait_for_rotation(f"{count} of {pool}", arrived)

    def weights(self, pool: str) -> set[int]:
        """The weights of a pool's machines."""
        return {target["weight"] for name, target in self.targets().items() if name.startswith(f"{pool}-")}

    def served(self) -> list[Served]:
        """The gateway's access log."""
        lines = [json.loads(line) for line in self.place.execute(GATEWAY, "cat", LOG).splitlines()]
        return [Served(line["status"], tuple(line["upstream"].split(", "))) for line in lines]

    @contextmanager
    def load(self, task: Task) -> Generator[list[Outcome]]:
        """The task at work beside the block, or for its seconds; what is yielded is filled at the end."""
        seen: list[Outcome] = []
        client = self.place.client("-m", "bench.load", source="desk")
        try:
            assert client.stdin
            print(json.dumps(asdict(task)), file=client.stdin, flush=True)
            yield seen
            said, wrong = client.communicate(None if task.seconds else "\n")
        finally:
            client.kill()
            client.communicate()
        if client.returncode:
            raise RuntimeError(f"the load ended with {client.returncode}: {wrong}")
        seen += [Outcome(**outcome) for outcome in json.loads(said)]

    def measured(self, task: Task) -> list[Outcome]:
        """The outcomes of a task that ends by itself."""
        with self.load(task) as seen:
            pass
        return seen
