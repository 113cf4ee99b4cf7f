"""The fabric: makes the world equal to the machines that the provider asks for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localcloud import host, image
from localcloud.cloud import NETNS, Cloud, LocalCloudError, write_private
from localcloud.enter import CGROUPS, init_of
from localcloud.fabric import flows, internet, links, plan
from localcloud.fabric.firewall import Router
from localcloud.fabric.machine import NSPAWN, Machine, processes_of, remove_groups
from localcloud.fabric.process import run, wait_until
from localcloud.fabric.steering import steering
from localcloud.fabric.store import Record, Store
from localcloud.spec import INTERNET, MachineSpec

BOOTS_IN_FLIGHT = 4
"""More first boots at once take longer altogether."""
BOOT_PATIENCE = 60
"""Seconds after which a first boot that does not end no longer holds up others."""

SUPERVISOR_SECONDS = 1
END_SECONDS = 30
"""Until a supervisor whose machine is gone is ended, and until it is an error that something does not end."""

Status = Literal["running", "booting", "stopped", "crashed"]


@dataclass(frozen=True)
class MachineState:
    """A machine as it is now."""

    spec: MachineSpec
    slot: int
    status: Status
    """`booting` until the first-boot document is carried out; `crashed` when it is switched on and does not run."""
    cut_from: tuple[str, ...]
    """Nodes that it is cut from; `*` is everything."""


class Fabric:
    """The machines of an instance. Safe to use from several processes and threads at once."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._store = Store(cloud)

    def apply(self, specs: Mapping[str, MachineSpec], progress: Callable[[str], None] = lambda _: None) -> None:
        """Make the machines equal to `specs`.

        A new id boots (returns when its init runs), one that is gone is destroyed with its disk, one that changed gets
        its firewall, translation, metadata, cards and power anew. One that crashed boots again, unless it is of a pool.

        Raises LocalCloudError; what it had done by then stays, and the next call goes on from there.
        """
        self._make(lambda: specs, progress)

    def _make(self, wanted: Callable[[], Mapping[str, MachineSpec]], progress: Callable[[str], None]) -> None:
        with self.cloud.locked("fabric"):
            specs = wanted()
            _check(specs)
            self._sweep()
            before = self._routers()
            for gone in [record for record in self._store.records().values() if record.spec.id not in specs]:
                progress(f"destroying {gone.spec.node}")
                self._destroy(gone)
            for spec in specs.values():
                self._store.save(spec)
            self._refresh(before)
            for record in self._store.records().values():
                self._set_power(record, progress)

    def repair(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Put right what a crash left behind, machines that should run included."""
        self._make(lambda: {id_: record.spec for id_, record in self._store.records().items()}, progress)

    def machines(self) -> list[MachineState]:
        """Every machine, by slot."""
        cuts = self._store.cuts()
        states: list[MachineState] = []
        for record in sorted(self._store.records().values(), key=lambda record: record.slot):
            node = record.spec.node
            cut_from = sorted(min(cut - {node}, default="*") for cut in cuts if node in cut)
            try:
                states.append(MachineState(record.spec, record.slot, self._status(record), tuple(cut_from)))
            except FileNotFoundError:
                if record.exists:
                    raise
        return states

    def first_boot_errors(self) -> dict[str, list[str]]:
        """Node -> what went wrong at its first boot, of the nodes where something did."""
        found = {r.spec.node: Machine(self.cloud, r).first_boot_errors() for r in self._store.records().values()}
        return {node: errors for node, errors in found.items() if errors}

    def start(self, node: str) -> None:
        """Switch the machine on; returns when its init runs."""
        with self.cloud.locked("fabric"):
            self._machine(node).boot(self._image())

    def stop(self, node: str) -> None:
        """Shut the machine down cleanly."""
        with self.cloud.locked("fabric"):
            self._machine(node).stop()

    def kill(self, node: str) -> None:
        """Cut the machine's power."""
        with self.cloud.locked("fabric"):
            self._machine(node).kill()

    def reboot(self, node: str) -> None:
        """Boot the machine again."""
        with self.cloud.locked("fabric"):
            self._machine(node).reboot()

    def press_power(self, node: str) -> None:
        """Tell the machine to shut down, as its power button does; whether and when it does is the machine's affair."""
        for record in self._store.records().values():
            if record.spec.node == node:
                Machine(self.cloud, record).press_power()

    def cut(self, node: str, other: str | None = None) -> None:
        """Let no packet pass between two machines, or between one and everything, until `heal`."""
        self._change_cuts(node, other, lambda cuts, cut: cuts | {cut})

    def heal(self, node: str, other: str | None = None) -> bool:
        """End a cut: that between two machines, or every cut of one. Whether there was any."""
        return self._change_cuts(
            node, other, lambda cuts, cut: cuts - {cut} if other else {held for held in cuts if node not in held}
        )

    def init_of(self, node: str) -> int:
        """The host's number of the machine's process 1, for `enter.command_line`."""
        machine = self._machine(node)
        init = machine.init
        if init is None:
            raise LocalCloudError(f"{node} is not running: `python -m localcloud start {node}` boots it")
        return init

    def down(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Destroy everything of the instance on this host but its folder: processes, mounts, namespaces, groups."""
        with self.cloud.locked("fabric"):
            for path in self.cloud.machines.glob("*/spec.json"):
                path.unlink()
            self._end_machines(self._namespaces_of_machines(), progress)
            progress("removing disks and namespaces")
            self._sweep()
            internet.delete_namespaces(*internet.namespaces(self.cloud.prefix))
            for name in ("networks.json", "cuts.json"):
                (self.cloud.directory / name).unlink(missing_ok=True)
            shutil.rmtree(self.cloud.directory / "nodes", ignore_errors=True)
            host.release_inotify_limit(self.cloud.tag)

    def _refresh(self, before: Mapping[str, Router]) -> None:
        """Routers, cards and rules as the records say; flows that the rules no longer let pass are ended."""
        records = self._store.records()
        numbers = self._store.networks(records)
        self._store.write_networks(numbers)
        internet.ensure_internet(self.cloud)
        for network, number in numbers.items():
            internet.ensure_private_router(self.cloud, number, plan.outside_addresses(records, network))
        self._write_nodes(records)
        steerings = {network: steering(records, network) for network in numbers}
        for record in records.values():
            write_private(record.folder / "links.sh", links.script(self.cloud, record, numbers, steerings))
        after = plan.routers(records, numbers, self._store.cuts())
        for network, router in after.items():
            namespace = links.router_namespace(self.cloud, network, numbers)
            internet.load_rules(namespace, router)
            if network in before and before[network].ports != router.ports:
                flows.end_all_of(namespace, flows.moved(before[network], router))
                flows.end_forbidden(namespace, router)
        self._plug(records, numbers)
        for network, number in numbers.items():
            internet.steer(self.cloud.network_namespace(number), steerings[network])

    def _plug(self, records: Mapping[str, Record], numbers: Mapping[str, int]) -> None:
        """Plug missing and changed cards of running machines, silence those that are off, unplug what is nobody's."""
        there = {name: internet.aliases(name) for name in self._router_namespaces(numbers)}
        wanted: set[tuple[str, str]] = set()
        for record in records.values():
            machine = Machine(self.cloud, record)
            running = machine.init is not None
            if not running and not machine.supervised:
                run("sh", str(record.folder / "links.sh"), "off")
            for card in record.spec.interfaces:
                router = links.router_namespace(self.cloud, card.network, numbers)
                wanted.add((router, record.device(card.name)))
                if running and there[router].get(record.device(card.name)) != links.fingerprint(card, router):
                    run("sh", str(record.folder / "links.sh"), "plug", card.name)
        for namespace, devices in there.items():
            stray = {device for device in devices if device[0] == "v" and (namespace, device) not in wanted}
            internet.delete_devices(namespace, stray)
        used = {self.cloud.network_namespace(number) for number in numbers.values()}
        for namespace in internet.namespaces(f"{self.cloud.prefix}n"):
            if namespace not in used:
                internet.delete_namespaces(namespace)

    def _set_power(self, record: Record, progress: Callable[[str], None]) -> None:
        machine = Machine(self.cloud, record)
        if not record.power:
            if machine.init is not None:
                progress(f"stopping {record.spec.node}")
                machine.stop()
            return
        if machine.init is not None and machine.supervised:
            return
        if record.spec.pool and machine.init is None and machine.began:
            return
        self._wait_for_a_free_boot()
        progress(f"booting {record.spec.node}")
        machine.boot(self._image())

    def _wait_for_a_free_boot(self) -> None:
        machines = [Machine(self.cloud, record) for record in self._store.records().values()]

        def in_flight() -> int:
            return sum(machine.init is not None and not machine.booted for machine in machines)

        wait_until(lambda: in_flight() < BOOTS_IN_FLIGHT, BOOT_PATIENCE, interval=0.05)

    def _destroy(self, record: Record) -> None:
        self._store.forget(record)
        self._end_machines([self.cloud.machine_namespace(record.slot)], lambda _: None)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what belongs to no machine on record, as a crash or a destroyed machine leaves it."""
        recorded = {self.cloud.machine_namespace(record.slot) for record in self._store.records().values()}
        stray = [name for name in self._namespaces_of_machines() if name not in recorded]
        self._end_machines(stray, lambda _: None)
        for name in stray:
            remove_groups(name)
            internet.delete_namespaces(name)
        for folder in self._store.rubbish():
            if (folder / "root").is_mount():
                run("umount", str(folder / "root"))
            shutil.rmtree(folder)

    def _end_machines(self, namespaces: Sequence[str], progress: Callable[[str], None]) -> None:
        """Cut the power of machines, by their namespaces; their supervisors end by themselves."""
        if namespaces:
            progress(f"ending {len(namespaces)} machine{'s' if len(namespaces) > 1 else ''}")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(_end, namespaces))

    def _namespaces_of_machines(self) -> list[str]:
        """Of machines that have a namespace or a control group, on record or not."""
        pattern = f"{self.cloud.prefix}m*"
        found = {path.name for path in NETNS.glob(pattern)}
        for hierarchy in map(Path, CGROUPS):
            found |= {path.name for path in hierarchy.glob(pattern)}
        return sorted(found)

    def _router_namespaces(self, numbers: Mapping[str, int]) -> list[str]:
        return [self.cloud.internet, *(self.cloud.network_namespace(number) for number in numbers.values())]

    def _routers(self) -> dict[str, Router]:
        records = self._store.records()
        return plan.routers(records, self._store.networks(records), self._store.cuts())

    def _write_nodes(self, records: Mapping[str, Record]) -> None:
        """Node -> namespace in a file each, which is all that `exec` needs to read."""
        folder = self.cloud.directory / "nodes"
        folder.mkdir(exist_ok=True)
        names = {record.spec.node: self.cloud.machine_namespace(record.slot) for record in records.values()}
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()
        for node, namespace in names.items():
            write_private(folder / node, namespace)

    def _change_cuts(
        self,
        node: str,
        other: str | None,
        change: Callable[[set[frozenset[str]], frozenset[str]], set[frozenset[str]]],
    ) -> bool:
        with self.cloud.locked("fabric"):
            for name in filter(None, (node, other)):
                self._machine(name)
            before = self._routers()
            cuts = self._store.cuts()
            changed = change(cuts, frozenset(filter(None, (node, other))))
            self._store.write_cuts(changed)
            self._refresh(before)
        return changed != cuts

    def _machine(self, node: str) -> Machine:
        records = self._store.records().values()
        for record in records:
            if record.spec.node == node:
                return Machine(self.cloud, record)
        known = (
            ", ".join(sorted(record.spec.node for record in records)) or "none: `python -m localcloud up` makes them"
        )
        raise LocalCloudError(f"there is no machine {node!r}; machines: {known}")

    def _status(self, record: Record) -> Status:
        machine = Machine(self.cloud, record)
        if machine.init is None and not machine.supervised and (machine.began or not record.power):
            return "crashed" if record.power else "stopped"
        return "running" if machine.booted else "booting"

    def _image(self) -> image.Image:
        host.raise_inotify_limit(self.cloud.tag)
        return image.ensure(lambda _: None)


def _check(specs: Mapping[str, MachineSpec]) -> None:
    """Refuse what would make two machines share what is one's own."""
    nodes: dict[str, str] = {}
    addresses: dict[tuple[str, str], str] = {}
    for machine_id, spec in specs.items():
        if machine_id != spec.id:
            raise LocalCloudError(f"machine {spec.id} was handed over under the id {machine_id}")
        if (other := nodes.setdefault(spec.node, machine_id)) != machine_id:
            raise LocalCloudError(
                f"machines {other} and {machine_id} are both the node {spec.node}: node names are unique"
            )
        for card in spec.interfaces:
            own = [(card.network, card.address)] if card.address else []
            held = [(INTERNET, address) for address in (card.public, card.address6) if address]
            for key in dict.fromkeys([*own, *held]):
                if (other := addresses.setdefault(key, machine_id)) != machine_id:
                    raise LocalCloudError(f"{key[1]} of {spec.node} is already the address of machine {other}")


def _end(namespace: str) -> None:
    """Cut the power of the machine and see to it that everything of it ends, supervisor and all."""
    begun = time.monotonic()
    while processes := processes_of(namespace):
        waited = time.monotonic() - begun
        names = {process: _name_of(process) for process in processes}
        if init := init_of(namespace):
            run("kill", "-KILL", str(init), check=False)
        # nspawn is never killed, its machine would live on as an orphan; it and its supervisor end by themselves.
        elif NSPAWN not in names.values() and waited > SUPERVISOR_SECONDS:
            run("kill", "-KILL", *map(str, processes), check=False)
        if waited > END_SECONDS:
            raise LocalCloudError(f"processes {names} of the control group {namespace} do not end")
        time.sleep(0.02)


def _name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""
