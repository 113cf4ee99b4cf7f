"""One machine: its disk, booting and ending it, and running commands in it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
from functools import partial
from pathlib import Path

from localcloud.cloud import GOOGLE_ADDRESS, Cloud, LocalCloudError, is_locked, write_private
from localcloud.enter import CGROUPS, PATH, init_of
from localcloud.fabric.process import run, wait_until
from localcloud.fabric.store import Record
from localcloud.image import REPOSITORY_MOUNT, Image

NSPAWN = "systemd-nspawn"
"""As the kernel names the process."""
SUPERVISE = Path(__file__).with_name("supervise.sh")
POWER_OFF, REBOOT = signal.SIGRTMIN + 4, signal.SIGRTMIN + 5
"""What systemd as process 1 takes as these orders."""

BOOT_SECONDS = 30
STOP_SECONDS = 90
GROUP_SECONDS = 5

_DEFAULT_USER = """\
users: [default]
disable_root: true
system_info:
  default_user:
    {name: ubuntu, lock_passwd: true, groups: [adm, sudo], sudo: "ALL=(ALL) NOPASSWD:ALL", shell: /bin/bash}
"""
_ROOT_USER = "users: []\ndisable_root: false\n"
"""Hetzner gives SSH keys to root, AWS and GCP to the image's user."""


class Machine:
    """The machine of a record. Orders that change it are given under the instance's lock `fabric`."""

    def __init__(self, cloud: Cloud, record: Record) -> None:
        self.cloud = cloud
        self.record = record
        self.folder = record.folder
        self.namespace = cloud.machine_namespace(record.slot)

    @property
    def init(self) -> int | None:
        """The host's number of its process 1; None when it does not run."""
        return init_of(self.namespace)

    @property
    def supervised(self) -> bool:
        """Whether its supervisor lives: also true for a moment before its init runs, and between two boots."""
        return is_locked(self.folder / "supervisor.lock")

    @property
    def began(self) -> bool:
        """Whether it was ever switched on."""
        return (self.folder / "console").exists()

    @property
    def booted(self) -> bool:
        """Whether it runs and its first-boot document has been carried out."""
        init = self.init
        return init is not None and Path(f"/proc/{init}/root/run/cloud-init/result.json").exists()

    def first_boot_errors(self) -> list[str]:
        """What went wrong while its first-boot document was carried out, in cloud-init's words."""
        try:
            result = json.loads(Path(f"/proc/{self.init}/root/run/cloud-init/result.json").read_text())
        except FileNotFoundError:
            return []
        return [str(error) for error in result["v1"]["errors"]]

    def boot(self, image: Image) -> None:
        """Switch it on and return when its init runs; one that runs already is only looked after."""
        self.record.switch(on=True)
        if not self.supervised:
            nspawn = _nspawn_of(self.namespace)
            if nspawn is None:
                self._end_orphan()
                self._mount(image)
                self._seed()
            self._supervise(image, nspawn)
        if not wait_until(lambda: self.init is not None, BOOT_SECONDS):
            tail = "\n".join(self.console().splitlines()[-6:])
            raise LocalCloudError(
                f"{self.record.spec.node} did not boot within {BOOT_SECONDS} s; its console ends with:\n{tail}"
            )

    def stop(self) -> None:
        """Shut it down cleanly; after 90 s its power is cut."""
        self.record.switch(on=False)
        if (init := self.init) is not None:
            os.kill(init, POWER_OFF)
            if not wait_until(self._down, STOP_SECONDS):
                self.kill()
        self._ended()

    def press_power(self) -> None:
        """Tell it to shut down, and do not wait for that; nothing happens where it does not run."""
        if (init := self.init) is not None:
            os.kill(init, POWER_OFF)

    def kill(self) -> None:
        """Cut its power: every process ends at once, nothing is written any more."""
        self.record.switch(on=False)
        if (init := self.init) is not None:
            os.kill(init, signal.SIGKILL)
        self._ended()

    def reboot(self) -> None:
        """Boot it again; returns when the new init runs."""
        before = self.init
        if before is None:
            raise LocalCloudError(f"{self.record.spec.node} is not running: start it with `python -m localcloud start`")
        os.kill(before, REBOOT)
        if not wait_until(lambda: self.init not in (None, before), STOP_SECONDS + BOOT_SECONDS):
            raise LocalCloudError(f"{self.record.spec.node} did not come back within {STOP_SECONDS + BOOT_SECONDS} s")

    def console(self) -> str:
        """What it printed, all boots together."""
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def unmount(self) -> None:
        """Take its disk down; the data stay in the folder."""
        if (self.folder / "root").is_mount():
            run("umount", str(self.folder / "root"))

    def _down(self) -> bool:
        return self.init is None and not self.supervised

    def _ended(self) -> None:
        if not wait_until(self._down, BOOT_SECONDS):
            raise LocalCloudError(
                f"{self.record.spec.node} does not end: look at the processes of the control group {self.namespace}"
            )

    def _mount(self, image: Image) -> None:
        root, upper, work = (self.folder / name for name in ("root", "upper", "work"))
        if root.is_mount():
            return
        for path in (root, upper, work):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)  # the upper folder becomes the machine's /, whatever the umask was
        options = f"lowerdir={image.root},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", self.namespace, "-o", options, str(root))

    def _seed(self) -> None:
        """The first-boot document, and what cloud-init's own source for that cloud would have configured."""
        spec = self.record.spec
        seed = self.folder / "seed"
        seed.mkdir(exist_ok=True)
        seed.chmod(0o700)
        meta = {"instance-id": spec.instance_id, "local-hostname": spec.hostname, "public-keys": list(spec.ssh_keys)}
        write_private(seed / "meta-data", json.dumps(meta))
        write_private(seed / "user-data", spec.user_data)
        configuration = self.folder / "root/etc/cloud/cloud.cfg.d/96_localcloud_user.cfg"
        if not configuration.exists():
            configuration.write_text(_ROOT_USER if spec.cloud == "hetzner" else _DEFAULT_USER)
        self._trust()

    def _trust(self) -> None:
        """Have it take what stands for the clouds' own servers for them: its name, and whom it trusts for that."""
        from localcloud.fabric.authority import GOOGLE_APIS, Authority  # its cryptography takes long to import

        etc, authority = self.folder / "root/etc", Authority(self.cloud)
        own = self.folder / "root/usr/local/share/ca-certificates/localcloud.crt"
        if own.exists():
            return
        with (etc / "hosts").open("a") as hosts:
            hosts.write(f"{GOOGLE_ADDRESS} {GOOGLE_APIS}\n")
        with (etc / "ssl/certs/ca-certificates.crt").open("a") as bundle:
            bundle.write(authority.certificate)
        link = etc / f"ssl/certs/{authority.certificate_name_hash}.0"
        link.unlink(missing_ok=True)
        link.symlink_to("/usr/local/share/ca-certificates/localcloud.crt")
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(authority.certificate)
        for path in (etc / "hosts", own.parent, own):
            path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the umask was

    def _end_orphan(self) -> None:
        """An init whose nspawn was killed lives on; booting beside it would use the disk twice."""
        if (init := self.init) is not None:
            os.kill(init, signal.SIGKILL)
            self._ended()

    def _supervise(self, image: Image, nspawn: int | None) -> None:
        """Start its supervisor, which first waits for the end of `nspawn` if the machine runs already."""
        with (self.folder / "console").open("ab") as console:
            subprocess.run(
                [
                    "setsid",
                    "--fork",
                    "sh",
                    str(SUPERVISE),
                    str(self.folder),
                    self.namespace,
                    self.record.spec.hostname,
                    str(image.repository),
                    REPOSITORY_MOUNT,
                    *([str(nspawn)] if nspawn else []),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={"PATH": PATH},
                cwd="/",
                umask=0o022,
                check=True,
            )
        wait_until(lambda: self.supervised, 5, interval=0.002)


def processes_of(namespace: str) -> list[int]:
    """Every process of the machine, its supervisor included."""
    found: set[int] = set()
    for hierarchy in map(Path, CGROUPS):
        for group, _, _ in os.walk(hierarchy / namespace):
            with contextlib.suppress(OSError):  # a group that has just been removed has nobody
                found |= {int(word) for word in (Path(group) / "cgroup.procs").read_text().split()}
    return sorted(found)


def remove_groups(namespace: str) -> None:
    """Take down the control groups of a machine that has ended."""
    for hierarchy in map(Path, CGROUPS):
        group = hierarchy / namespace
        for path in sorted((path for path in group.glob("**/") if path.is_dir()), key=lambda path: -len(path.parts)):
            if not wait_until(partial(_remove_group, path), GROUP_SECONDS):
                raise LocalCloudError(f"the control group {path} cannot be removed: look at its cgroup.procs")


def _remove_group(path: Path) -> bool:
    """Busy for a moment after its last process."""
    try:
        path.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _nspawn_of(namespace: str) -> int | None:
    for process in processes_of(namespace):
        try:
            if Path(f"/proc/{process}/comm").read_text().strip() == NSPAWN:
                return process
        except OSError:
            continue
    return None
