"""What the image is made of. Changing anything here makes another image at the next `up`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PACKAGES: Sequence[str] = (
    "apt", "ca-certificates", "cloud-init", "curl", "dbus", "iperf3", "iproute2", "iptables", "iputils-ping", "locales",
    "nftables", "openssh-server", "openssl", "procps", "python3", "python3-aiohttp", "python3-cryptography",
    "python3-jwt", "python3-prometheus-client", "sudo", "systemd", "?exact-name(systemd-resolved)", "systemd-sysv",
    "traceroute", "unattended-upgrades", "wireguard-go",
)  # fmt: skip
"""Installed in the image. WireGuard in user space stands in for the kernel module that clouds' images bring;
systemd-resolved is a package of its own in most releases, and a part of systemd in Ubuntu 22.04."""

OFFLINE: Sequence[str] = ("dnsmasq-base", "nginx", "prometheus", "wireguard-tools")
"""What first boots install, fetched with everything that it depends on."""

MASKED: Sequence[str] = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "cloud-init-hotplugd.socket", "console-getty.service",
    "cryptsetup.target", "dev-hugepages.mount", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "getty-static.service", "getty.target", "getty@tty1.service", "integritysetup.target",
    "kmod-static-nodes.service", "proc-sys-fs-binfmt_misc.automount", "remote-fs.target",
    "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
    "systemd-binfmt.service", "systemd-firstboot.service", "systemd-initctl.socket", "systemd-logind.service",
    "systemd-modules-load.service", "systemd-pcrphase-sysinit.service", "systemd-pcrphase.service",
    "systemd-pstore.service", "systemd-random-seed.service", "systemd-remount-fs.service", "systemd-repart.service",
    "systemd-tmpfiles-clean.timer", "systemd-update-utmp-runlevel.service", "systemd-update-utmp.service",
    "unattended-upgrades.service", "veritysetup.target",
)  # fmt: skip
"""Units that serve hardware, consoles or a clock of one's own, which a container has not, and the one that holds up a
shutdown amid upgrades: it asks for systemd-logind, which is among them, every second."""

REMOVED: Sequence[str] = (
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/hostname",
    "etc/machine-id",
    "etc/ssh/ssh_host_*",
    "var/lib/apt/lists/*",
    "var/lib/dbus/machine-id",
)
"""What one machine must not share with another, and what would send it to a network that it does not have."""

_CLOUD_INIT = """\
datasource_list: [NoCloud]
network: {config: disabled}
apt: {preserve_sources_list: true}
locale: false
manage_etc_hosts: false
no_ssh_fingerprints: true
ssh: {emit_keys_to_console: false}
ssh_genkeytypes: [ed25519]
cloud_init_modules:
- bootcmd
- write-files
- set_hostname
- update_hostname
- update_etc_hosts
- ca-certs
- users-groups
- ssh
cloud_config_modules: [set-passwords, apt-configure, ntp, timezone, runcmd]
cloud_final_modules:
- package-update-upgrade-install
- write-files-deferred
- scripts-vendor
- scripts-per-once
- scripts-per-boot
- scripts-per-instance
- scripts-user
- phone-home
- final-message
- power-state-change
"""

_RESOLVED = "[Resolve]\nLLMNR=no\nMulticastDNS=no\n"
"""As Ubuntu's images have it; else a name without a dot is asked for on the link for ten seconds."""
_JOURNAL = "[Journal]\nStorage=persistent\nSystemMaxUse=32M\nRateLimitIntervalSec=0\n"

FILES: Mapping[str, str] = {
    "etc/apt/apt.conf.d/90localcloud": 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n',
    "etc/apt/sources.list": "deb [trusted=yes] file:/srv/packages ./\n",
    "etc/cloud/cloud.cfg.d/95_localcloud.cfg": _CLOUD_INIT,
    "etc/dpkg/dpkg.cfg.d/90localcloud": "force-unsafe-io\n",
    "etc/hostname": "localhost\n",
    "etc/machine-id": "",
    "etc/systemd/journald.conf.d/localcloud.conf": _JOURNAL,
    "etc/systemd/resolved.conf.d/localcloud.conf": _RESOLVED,
    "etc/systemd/system.conf.d/localcloud.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
}

LINKS: Mapping[str, str] = {"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"}
"""Symbolic links, as official cloud images have them: names are asked for at systemd-resolved's stub."""
