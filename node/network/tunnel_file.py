"""What first boot's configuration of the tunnel says, for a machine that is told nothing else of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from overlay.model import is_endpoint, is_wireguard_key


class TunnelFileError(Exception):
    """The configuration cannot be read; the message says why and what to do, and holds no secret."""


@dataclass(frozen=True)
class TunnelFile:
    """A spoke's own end, whose ``private_key`` is a secret, and the (endpoint, public key) of its first gateway."""

    address: IPv4Address
    private_key: str
    gateway: tuple[str, str]


def path() -> Path:
    """Where wg-quick(8) has it."""
    return Path(os.environ.get("HYBRIDNET_WIREGUARD", "/etc/wireguard/wg0.conf"))


def read(file: Path) -> TunnelFile:
    """The configuration in ``file``; TunnelFileError."""
    try:
        return _read(file.read_text())
    except (OSError, ValueError, KeyError) as error:
        why = f"no {error.args[0]}" if isinstance(error, KeyError) else type(error).__name__
        raise TunnelFileError(
            f"{file} cannot be used ({why}), so this machine does not follow changes of the network; "
            "make it anew: raise its `revision`"
        ) from None


def _read(text: str) -> TunnelFile:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting:
            found.setdefault(name.strip().lower(), value.strip())
    addresses = [IPv4Interface(each.strip()) for each in found["address"].split(",") if ":" not in each]
    key, gateway = found["privatekey"], (found["endpoint"], found["publickey"])
    if not addresses or not is_endpoint(gateway[0]) or not is_wireguard_key(key) or not is_wireguard_key(gateway[1]):
        raise ValueError
    return TunnelFile(addresses[0].ip, key, gateway)
