"""What a spoke knows of itself from first boot's configuration of its tunnel, and who it is by that."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from pathlib import Path

import pytest

from node.config import Config
from node.network.agent import Myself
from node.network.asker import Doorway
from node.network.tunnel_file import TunnelFile, TunnelFileError, read
from node.spoke import Own
from overlay.model import Peer
from overlay.wgconf import Interface, wg_quick
from tests.node.support import key

PRIVATE, GATEWAY = key("own private"), key("gateway")
INTERFACE = Interface(IPv4Interface("10.100.2.1/16"), PRIVATE, 1420)
PEER = Peer(GATEWAY, "gateway.example:51820", (IPv4Network("10.100.0.0/16"),), 25)


@pytest.mark.parametrize("address6", [None, IPv6Interface("fd00::a64:201/96")])
def test_what_first_boot_wrote_is_understood(tmp_path: Path, address6: IPv6Interface | None) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(wg_quick(Interface(INTERFACE.address, PRIVATE, 1420, address6=address6), [PEER]))
    assert read(file) == TunnelFile(IPv4Address("10.100.2.1"), PRIVATE, ("gateway.example:51820", GATEWAY))


@pytest.mark.parametrize(
    "text",
    [
        "",
        wg_quick(INTERFACE, []),
        wg_quick(INTERFACE, [PEER]).replace(GATEWAY, "x"),
        wg_quick(INTERFACE, [PEER]).replace(PRIVATE, PRIVATE[1:]),
        wg_quick(INTERFACE, [PEER]).replace("10.100.2.1/16", "fd00::1/64"),
        wg_quick(INTERFACE, [PEER]).replace("gateway.example:51820", "gateway.example"),
        "\udcff",
    ],
)
def test_anything_else_is_refused_without_a_word_of_its_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(TunnelFileError, match="raise its `revision`") as error:
        read(file)
    assert PRIVATE[1:] not in str(error.value)
    assert error.value.__cause__ is None


def test_a_spoke_that_cannot_read_it_says_so_once_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wg0.conf"
    monkeypatch.setenv("HYBRIDNET_WIREGUARD", str(file))
    own = Own(Config("spoke", "b-1", (IPv4Address("10.100.0.1"), 8443), "", tmp_path, tmp_path))
    assert (own.myself(), own.doorway(), own.myself()) == (None, None, None)
    assert capfd.readouterr().err.count("FileNotFoundError") == 1
    file.write_text(wg_quick(INTERFACE, [PEER]))
    assert own.myself() == Myself("b-1", IPv4Address("10.100.2.1"), IPv4Address("10.100.0.1"))
    assert own.doorway() == Doorway(PRIVATE, ("gateway.example:51820", GATEWAY))
