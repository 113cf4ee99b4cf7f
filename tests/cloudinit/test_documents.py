"""The documents themselves: pinned bytes, valid for cloud-init, nothing in them that can break out."""

from __future__ import annotations

import ast
import base64
import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cloudinit import MAX_BYTES, BootError, render_gateway, render_spoke
from cloudinit.pack import KITS, bare, packed_file, unpack
from tests.cloudinit.examples import GATEWAY, GOLDEN, POOL, SPOKE, documents, pem

EACH = pytest.mark.parametrize("name", sorted(documents()))


def parsed(text: str) -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load(text))


def written(text: str) -> dict[str, dict[str, str]]:
    """Path -> entry of ``write_files``."""
    return {entry["path"]: entry for entry in parsed(text)["write_files"]}


@EACH
def test_the_bytes_are_those_of_the_golden_file(name: str) -> None:
    assert documents()[name] == (GOLDEN / name).read_text(), (
        "new machines would get another document: if that is wanted, `python -m tests.cloudinit.examples`"
    )


@EACH
def test_the_first_line_is_exactly_the_one_cloud_init_looks_for(name: str) -> None:
    assert documents()[name].splitlines()[0] == "#cloud-config"


@EACH
def test_a_document_is_ascii_within_half_of_the_smallest_limit(name: str) -> None:
    text = documents()[name]
    assert text.isascii()
    assert len(text) <= (MAX_BYTES["gateway"] if name == "gateway.yaml" else 8192)


@EACH
def test_cloud_init_takes_the_document(name: str) -> None:
    tool = shutil.which("cloud-init")
    if tool is None:
        pytest.skip("needs cloud-init")
    checked = subprocess.run(
        [tool, "schema", "--config-file", str(GOLDEN / name)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "Valid" in checked.stdout


@EACH
def test_only_keys_that_every_cloud_init_knows_are_used(name: str) -> None:
    """22.4's schema lets unknown keys pass, and then does nothing with them."""
    document = parsed(documents()[name])
    assert set(document) == {"package_update", "packages", "write_files", "runcmd"}
    for entry in document["write_files"]:
        assert set(entry) <= {"path", "permissions", "encoding", "content"}


def test_an_overlong_gateway_document_is_refused_with_the_remedy() -> None:
    many = tuple(IPv4Network(f"192.0.{net}.{host}/32") for net in range(8) for host in range(0, 256, 2))
    with pytest.raises(BootError, match=r"may have 16384: declare fewer networks in adminCidrs"):
        render_gateway(replace(GATEWAY, admin_cidrs=many))


@EACH
def test_secrets_are_written_for_root_alone(name: str) -> None:
    files = written(documents()[name])
    secrets = {
        path for path, entry in files.items() if "PRIVATE" in entry["content"] or "PrivateKey" in entry["content"]
    }
    secrets |= {path for path in ("/etc/hybridnet/token", "/etc/hybridnet/seal.key") if path in files}
    assert secrets
    assert {files[path].get("permissions") for path in secrets} == {"0600"}


@EACH
def test_a_document_holds_no_other_machines_secret(name: str) -> None:
    secrets = {
        "gateway.yaml": {GATEWAY.wireguard_private_key, GATEWAY.tls_private_key_pem, GATEWAY.seal_key},
        "spoke.yaml": {SPOKE.wireguard_private_key},
        "pool.yaml": {POOL.token},
    }
    for owner, values in secrets.items():
        for value in values:
            assert owner.split(".")[0] in name or value not in documents()[name]


def test_a_spokes_tunnel_is_complete() -> None:
    assert written(render_spoke(SPOKE))["/etc/wireguard/wg0.conf"]["content"].splitlines() == [
        "[Interface]",
        "Address = 10.100.2.1/32",
        f"PrivateKey = {SPOKE.wireguard_private_key}",
        "ListenPort = 51820",
        "MTU = 1380",
        "",
        "[Peer]",
        f"PublicKey = {SPOKE.gateway_public_key}",
        "Endpoint = 198.51.100.10:51820",
        "AllowedIPs = 10.100.0.0/16",
        "PersistentKeepalive = 25",
    ]


def test_a_gateways_interface_has_the_whole_overlay_and_no_peer() -> None:
    text = written(render_gateway(GATEWAY))["/etc/wireguard/wg0.conf"]["content"]
    assert "Address = 10.100.0.1/16\n" in text
    assert "[Peer]" not in text


def test_ipv6_is_in_the_tunnel_if_the_overlay_has_it() -> None:
    overlay6 = IPv6Network("fd12:3456:789a::/48")
    gateway = written(render_gateway(replace(GATEWAY, overlay6=overlay6)))["/etc/wireguard/wg0.conf"]["content"]
    assert "Address = 10.100.0.1/16, fd12:3456:789a::a64:1/112\n" in gateway
    spoke = written(render_spoke(replace(SPOKE, overlay6=overlay6, gateway_endpoint="[2001:db8::10]:51820")))
    lines = spoke["/etc/wireguard/wg0.conf"]["content"].splitlines()
    assert "Address = 10.100.2.1/32, fd12:3456:789a::a64:201/128" in lines
    assert "AllowedIPs = 10.100.0.0/16, fd12:3456:789a::a64:0/112" in lines
    assert "Endpoint = [2001:db8::10]:51820" in lines


def test_a_gateway_knows_the_others_by_the_stacks_authority() -> None:
    assert written(render_gateway(GATEWAY))["/etc/hybridnet/ca.pem"]["content"] == GATEWAY.ca_pem


def test_a_gateway_keeps_an_announced_default_route_though_it_forwards() -> None:
    """The kernel drops such routes when forwarding begins, unless accept_ra is 2 by then."""
    lines = KITS["gateway"]["etc/sysctl.d/90-hybridnet.conf"].read_text().splitlines()
    assert lines.index("net.ipv6.conf.*.accept_ra = 2") < lines.index("net.ipv6.conf.all.forwarding = 1")


@pytest.mark.parametrize(("role", "text"), [("gateway", render_gateway(GATEWAY)), ("spoke", render_spoke(SPOKE))])
def test_stage_0_of_a_static_machine_is_told_who_it_is(role: str, text: str) -> None:
    assert json.loads(written(text)["/etc/hybridnet/config.json"]["content"]) == {
        "schema_version": 1,
        "role": role,
        "name": GATEWAY.name if role == "gateway" else SPOKE.name,
        "control": "10.100.0.1:8443",
        "signing_public_key": GATEWAY.signing_public_key,
    }


def read(path: str, text: str) -> str:
    """What a file of a kit says: of Python's the tree, since each version writes it down in its own way."""
    return ast.dump(ast.parse(text)) if path.endswith(".py") else text


@pytest.mark.parametrize("role", sorted(KITS))
def test_a_packed_kit_holds_the_files_as_they_are_here_without_comments(role: str) -> None:
    packed = {path: read(path, text.decode()) for path, text in unpack(packed_file(role).read_text()).items()}
    assert packed == {path: read(path, bare(source)) for path, source in KITS[role].items()}, (
        "the kit is older than its files: `python -m cloudinit`"
    )


def test_a_bare_file_lacks_only_what_a_machine_does_not_read(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        '"""About it."""\n\n\nclass A:\n    """About A."""\n\n    b: int = 3\n\n'
        '    def c(self, d: str) -> str:\n        """About c."""\n        return f"# {d}"  # so\n'
    )
    assert bare(program) == "class A:\n b: int = 3\n\n def c(self, d):\n  return f'# {d}'\n"
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n# About it.\necho '# a'\n  # b\necho c\n")
    assert bare(script) == "#!/bin/sh\necho '# a'\necho c\n"


@pytest.mark.parametrize("role", sorted(KITS))
def test_of_a_kit_only_the_command_is_a_program(role: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed_file(role).read_text())), mode="r:gz") as tar:
        modes = {entry.name: entry.mode for entry in tar.getmembers()}
    assert {path for path, mode in modes.items() if mode == 0o755} == {"usr/local/bin/hybridnet"}
    assert set(modes.values()) == {0o755, 0o644}


@pytest.mark.parametrize("role", sorted(KITS.keys() - {"external"}))
def test_a_document_carries_the_packed_kit_and_unpacks_it(role: str) -> None:
    text = documents()[f"{role}.yaml"]
    kit = written(text)["/usr/local/lib/hybridnet.tar"]
    assert (kit["encoding"], kit["content"]) == ("gz+b64", packed_file(role).read_text().strip())
    assert parsed(text)["runcmd"][0] == "tar -xf /usr/local/lib/hybridnet.tar -C /"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "gw\nruncmd: [reboot]"),
        ("name", "GW"),
        ("name", ""),
        ("mtu", 575),
        ("mtu", 9001),
        ("wireguard_private_key", "short"),
        ("wireguard_private_key", GATEWAY.wireguard_private_key + "\nPostUp = reboot"),
        ("tls_certificate_pem", "not a certificate"),
        ("tls_certificate_pem", GATEWAY.tls_certificate_pem + "runcmd: [reboot]\n"),
        ("tls_certificate_pem", GATEWAY.tls_certificate_pem * 2),
        ("tls_private_key_pem", GATEWAY.tls_private_key_pem.replace("-----END EC", "-----END RSA")),
        ("signing_public_key", "AAAA"),
        ("signing_public_key", GATEWAY.signing_public_key + '", "role": "spoke'),
        ("seal_key", "short"),
        ("seal_key", GATEWAY.seal_key + "\nruncmd: [reboot]"),
        ("ca_pem", GATEWAY.ca_pem * 2),
        ("overlay6", IPv6Network("fd12:3456:789a::/97")),
    ],
)
def test_a_gateway_value_that_does_not_fit_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BootError, match=field) as caught:
        replace(GATEWAY, **cast("dict[str, Any]", {field: value}))
    if "private" in field or "seal" in field:
        assert str(value) not in str(caught.value), "a secret stands in the message"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "-aws"),
        ("cloud", "azure"),
        ("wireguard_private_key", ""),
        ("gateway_public_key", "A" * 44),
        ("gateway_endpoint", "198.51.100.10"),
        ("gateway_endpoint", "198.51.100.10:51820\nPostUp = reboot"),
        ("gateway_endpoint", "198.51.100.10:99999"),
        ("ca_pem", ""),
        ("signing_public_key", "not base64!"),
        ("overlay6", IPv6Network("fd12:3456:789a::/128")),
    ],
)
def test_a_spoke_value_that_does_not_fit_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BootError, match=field):
        replace(SPOKE, **cast("dict[str, Any]", {field: value}))


@pytest.fixture
def network_namespace() -> list[str]:
    """A command prefix that runs a command in a network namespace of its own."""
    prefix = ["unshare", "--map-root-user", "--net"]
    if shutil.which("nft") is None or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs nft and the right to make a network namespace")
    return prefix


def rules(role: str, text: str, folder: Path) -> Path:
    """The machine's nftables.conf as a file here, with what it includes."""
    main = unpack(packed_file(role).read_text())["etc/nftables.conf"].decode()
    for path, entry in written(text).items():
        if path.endswith(".nft"):
            (folder / Path(path).name).write_text(entry["content"])
            main = main.replace(path, str(folder / Path(path).name))
    (folder / "nftables.conf").write_text(main)
    return folder / "nftables.conf"


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("gateway", render_gateway(GATEWAY)),
        ("gateway", render_gateway(replace(GATEWAY, admin_cidrs=()))),
        (
            "gateway",
            render_gateway(
                replace(
                    GATEWAY,
                    admin_cidrs=(IPv4Network("10.0.0.0/8"), IPv4Network("10.1.0.0/16"), IPv6Network("2001:db8::/32")),
                )
            ),
        ),
        ("spoke", render_spoke(SPOKE)),
    ],
    ids=["gateway", "gateway without admins", "gateway with overlapping admins", "spoke"],
)
def test_nft_takes_the_rules_and_takes_them_again(
    network_namespace: list[str], tmp_path: Path, role: str, text: str
) -> None:
    file = rules(role, text, tmp_path)
    checked = subprocess.run(
        [*network_namespace, "nft", "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    again = f"nft -f {file} && nft list ruleset >{tmp_path}/1 && nft -f {file} && nft list ruleset >{tmp_path}/2"
    subprocess.run([*network_namespace, "sh", "-c", again], check=True)
    assert (tmp_path / "1").read_text() == (tmp_path / "2").read_text() != ""


@EACH
def test_shellcheck_finds_nothing_in_what_the_shell_runs(name: str, tmp_path: Path) -> None:
    tool = shutil.which("shellcheck")
    if tool is None:
        pytest.skip("needs shellcheck")
    script = tmp_path / "runcmd.sh"
    script.write_text("\n".join(["#!/bin/sh", *parsed(documents()[name])["runcmd"], ""]))
    checked = subprocess.run([tool, str(script)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("role", "unit"),
    [
        ("pool", "hybridnet.service"),
        ("pool", "hybridnet-setup.service"),
        ("pool", "hybridnet-drain.service"),
        ("gateway", "hybridnet-dns.service"),
        ("spoke", "hybridnet-health.timer"),
    ],
)
def test_systemd_takes_the_unit(tmp_path: Path, role: str, unit: str) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze")
    units = {
        path.removeprefix("etc/systemd/system/"): source
        for path, source in KITS[role].items()
        if path.startswith("etc/systemd/system/")
    }
    for path, source in units.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        # The user's scripts and such programs are not here, and are no part of the question.
        text = source.read_text().replace("=/etc/hybridnet/", "=/bin/echo /etc/hybridnet/")
        text = text.replace("=-/usr/local/bin/hybridnet", "=-/bin/echo")
        (tmp_path / path).write_text(text.replace("=/usr/sbin/dnsmasq", "=/bin/echo"))
    command = [tool, "verify", "--man=no", str(tmp_path / unit)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not [line for line in checked.stderr.splitlines() if unit.partition(".")[0] in line], checked.stderr


def test_a_placeholder_of_a_secrets_length_is_taken() -> None:
    """The program bounds the size before any secret exists."""
    placeholder = replace(
        GATEWAY,
        tls_certificate_pem=pem("CERTIFICATE", 700),
        tls_private_key_pem=pem("PRIVATE KEY", 138),
        ca_pem=pem("CERTIFICATE", 700),
        overlay6=IPv6Network("fd12:3456:789a::/48"),
    )
    assert len(render_gateway(placeholder)) <= MAX_BYTES["gateway"]
