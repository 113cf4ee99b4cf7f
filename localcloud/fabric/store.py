"""What an instance remembers of its machines on disk, so that any process can pick them up after any crash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from localcloud.cloud import Cloud, LocalCloudError, write_private
from localcloud.spec import INTERNET, MachineSpec, from_json, to_json

SPEC = "spec.json"


@dataclass(frozen=True)
class Record:
    """A machine that is on record: what it shall be and where it lives."""

    spec: MachineSpec
    slot: int
    """Small number that names its namespace and devices; free again when the machine is destroyed."""
    folder: Path

    @property
    def power(self) -> bool:
        """Whether it is switched on: one that is on but does not run has crashed."""
        return (self.folder / "power").read_text().strip() == "on"

    @property
    def exists(self) -> bool:
        """Whether it is still on record."""
        return (self.folder / SPEC).exists()

    def switch(self, on: bool) -> None:
        """Remember whether it shall run."""
        write_private(self.folder / "power", "on\n" if on else "off\n")

    def device(self, interface: str) -> str:
        """The router's end of the machine's network card."""
        return f"v{self.slot}-{interface}"


class Store:
    """The records of the instance. Whoever changes them holds the lock `fabric`."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def records(self) -> dict[str, Record]:
        """Machine id -> record. Raises LocalCloudError naming a file that it cannot read."""
        found: dict[str, Record] = {}
        for path in sorted(self.cloud.machines.glob(f"*/{SPEC}")):
            try:
                spec = from_json(path.read_text())
                slot = int((path.parent / "slot").read_text())
            except (ValueError, KeyError, TypeError, OSError) as error:
                if not path.exists():
                    continue  # destroyed while this one looks
                raise LocalCloudError(
                    f"{path} is damaged ({error}): `python -m localcloud down` and `up` make the instance anew"
                ) from error
            found[spec.id] = Record(spec, slot, path.parent)
        return found

    def save(self, spec: MachineSpec) -> Record:
        """Put the machine on record, or its new spec; a new one gets a slot and is switched as its spec says."""
        records = self.records()
        if known := records.get(spec.id):
            if known.spec != spec:
                write_private(known.folder / SPEC, to_json(spec))
                if known.spec.running != spec.running:
                    known.switch(spec.running)
            return Record(spec, known.slot, known.folder)
        folder = self.cloud.machine(spec.id)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, mode=0o755)
        taken = {record.slot for record in records.values()}
        slot = min(set(range(1, len(taken) + 2)) - taken)
        write_private(folder / "slot", f"{slot}\n")
        record = Record(spec, slot, folder)
        record.switch(spec.running)
        write_private(folder / SPEC, to_json(spec))
        return record

    def forget(self, record: Record) -> None:
        """Take it off the record; its folder is rubbish from here on."""
        (record.folder / SPEC).unlink(missing_ok=True)
        self.write_cuts({cut for cut in self.cuts() if record.spec.node not in cut})

    def rubbish(self) -> list[Path]:
        """Folders of machines that are not on record."""
        return [folder for folder in self.cloud.machines.glob("*") if not (folder / SPEC).exists()]

    def networks(self, records: Mapping[str, Record]) -> dict[str, int]:
        """Private network id -> its router's number, for the networks that these machines are on."""
        path = self.cloud.directory / "networks.json"
        numbers = cast("dict[str, int]", json.loads(path.read_text())) if path.exists() else {}
        used = {card.network for record in records.values() for card in record.spec.interfaces} - {INTERNET}
        kept = {network: number for network, number in numbers.items() if network in used}
        for network in sorted(used - kept.keys()):
            kept[network] = min(set(range(1, len(kept) + 2)) - set(kept.values()))
        return kept

    def write_networks(self, numbers: Mapping[str, int]) -> None:
        """Remember the routers' numbers."""
        write_private(self.cloud.directory / "networks.json", json.dumps(numbers, indent=1))

    def cuts(self) -> set[frozenset[str]]:
        """Nodes that are cut off (one name), and pairs that are cut from each other."""
        path = self.cloud.directory / "cuts.json"
        return {frozenset(nodes) for nodes in json.loads(path.read_text())} if path.exists() else set()

    def write_cuts(self, cuts: set[frozenset[str]]) -> None:
        """Replace the cuts."""
        path = self.cloud.directory / "cuts.json"
        if cuts or path.exists():
            write_private(path, json.dumps(sorted(sorted(cut) for cut in cuts)))
