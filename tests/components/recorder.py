"""Runs the program against a monitor that only records what is registered; fresh for each run.

The monitor answers as clouds would where the program needs it: keys and certificates are real ones. It is no engine:
options have no effect here, and tests read them from the requests.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import runpy
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import pulumi.runtime
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import configure

from tests.components.configs import ROOT, as_engine_gives

Json = Any
_SIGNATURE = rpc._special_sig_key  # pyright: ignore[reportPrivateUsage]
_SECRET = rpc._special_secret_sig  # pyright: ignore[reportPrivateUsage]
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{'A' * 64}\n-----END CERTIFICATE-----\n"
ORIGIN_CERTIFICATE = CERTIFICATE.replace("A" * 64, "B" * 64).strip()
"""Without a line's end, as APIs tend to tell."""
PUBLISHED = {"ipv4Cidrs": ["203.0.114.0/24", "198.51.101.0/24"], "ipv6Cidrs": ["2001:db8:f::/48"]}
"""Cloudflare's ranges."""
GATEWAY_IP = "198.51.100.1"
GATEWAY_IPS = {"hetzner": GATEWAY_IP, "aws": "198.51.100.2", "gcp": "198.51.100.3"}
"""What a gateway's address is on each cloud."""
GATEWAY_NETWORK6 = "2001:db8:a:b::/64"
SPOKE_IP, SPOKE_IP6 = "192.0.2.7", "2001:db8:c:d::1"
"""What a machine that gets an address with it has."""
ACCOUNT = "123456789012"


def is_secret(value: Json) -> bool:
    """Whether an input is marked as a secret."""
    return isinstance(value, dict) and cast("dict[str, Json]", value).get(_SIGNATURE) == _SECRET


def secret(value: Json) -> Json:
    """``value`` marked as a secret, as engines mark what a resource's class says is one."""
    return {_SIGNATURE: _SECRET, "value": value}


def plain(value: Json) -> Json:
    """An input without its marks."""
    if is_secret(value):
        return plain(value["value"])
    if isinstance(value, dict):
        return {key: plain(item) for key, item in cast("dict[str, Json]", value).items()}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[Json]", value)]
    return value


def masked(value: Json) -> Json:
    """An input as a preview shows it: secrets as ``[secret]``."""
    if is_secret(value):
        return "[secret]"
    if isinstance(value, dict):
        return {key: masked(item) for key, item in cast("dict[str, Json]", value).items()}
    if isinstance(value, list):
        return [masked(item) for item in cast("list[Json]", value)]
    return value


@dataclass(frozen=True)
class Registered:
    """A resource as the engine would get it; ``raw`` inputs carry the marks of secrets, ``inputs`` do not."""

    type: str
    name: str
    parent: str
    raw: Mapping[str, Json]
    request: Any

    @property
    def id(self) -> str:
        return id_of(self.type, self.name)

    @property
    def inputs(self) -> Json:
        return plain(self.raw)

    @property
    def ignored(self) -> set[str]:
        return set(self.request.ignoreChanges)


@dataclass
class Run:
    """What a run of the program registered, exported and warned of."""

    resources: list[Registered] = field(default_factory=list[Registered])
    outputs: dict[str, Json] = field(default_factory=dict[str, Json])
    warnings: list[str] = field(default_factory=list[str])

    def named(self, name: str) -> Registered:
        """The one resource called ``name`` that is no component."""
        (found,) = [r for r in self.resources if r.name == name and r.request.custom]
        return found

    def of_type(self, kind: str) -> list[Registered]:
        return [resource for resource in self.resources if resource.type == kind]


@cache
def key_pem(name: str, algorithm: str) -> tuple[str, str, str]:
    """A key's PEM, OpenSSH private and OpenSSH public form, the same for the same name."""
    seed = name.encode().ljust(32, b".")[:32]
    key = (
        ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        if algorithm == "ED25519"
        else ec.derive_private_key(int.from_bytes(seed) % 2**250, ec.SECP256R1())
    )
    is_ed25519 = algorithm == "ED25519"
    pem_format = serialization.PrivateFormat.PKCS8 if is_ed25519 else serialization.PrivateFormat.TraditionalOpenSSL
    bare = serialization.NoEncryption()
    return (
        key.private_bytes(serialization.Encoding.PEM, pem_format, bare).decode(),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, bare).decode(),
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode(),
    )


def _made(kind: str, name: str, inputs: Mapping[str, Json]) -> dict[str, Json]:
    """What a cloud adds to ``inputs``."""
    match kind.rpartition(":")[2]:
        case "PrivateKey":
            pem, openssh, public = key_pem(name, plain(inputs["algorithm"]))
            private = {"privateKeyPem": secret(pem), "privateKeyOpenssh": secret(openssh)}
            return {**private, "publicKeyOpenssh": f"{public}\n"}
        case "SelfSignedCert" | "LocallySignedCert":
            return {"certPem": CERTIFICATE}
        case "OriginCaCertificate":
            return {"certificate": ORIGIN_CERTIFICATE, "expiresOn": "2041-11-19T00:00:00Z"}
        case "CertRequest":
            return {"certRequestPem": "request"}
        case "Account":
            return {"email": f"{inputs['accountId']}@{inputs['project']}.iam.gserviceaccount.com"}
        case "InstanceTemplate":
            return {"selfLinkUnique": f"instanceTemplates/{inputs['namePrefix']}1?uniqueId=7"}
        case "Roster":
            return {"gateway_keys": {name: inputs["nodes"][name]["publicKey"] for name in inputs["gateways"]}}
        case "PrimaryIp" | "Eip" | "Address":
            return _made_address(kind, name, inputs)
        case "Server" | "Instance":
            return _made_machine(kind, name, inputs)
        case _:
            return {}


def _made_address(kind: str, name: str, inputs: Mapping[str, Json]) -> dict[str, Json]:
    if kind.startswith("aws:"):
        return {"publicIp": GATEWAY_IPS["aws"], "allocationId": id_of(kind, name)}
    if kind.startswith("gcp:"):
        return {"address": GATEWAY_IPS["gcp"]}
    return {"ipNetwork": GATEWAY_NETWORK6} if inputs["type"] == "ipv6" else {"ipAddress": GATEWAY_IP}


def _made_machine(kind: str, name: str, inputs: Mapping[str, Json]) -> dict[str, Json]:
    if kind.startswith("hcloud:"):
        return {"ipv4Address": SPOKE_IP, "ipv6Address": SPOKE_IP6}
    if kind.startswith("aws:"):
        return {"primaryNetworkInterfaceId": interface_of(name), "publicIp": SPOKE_IP}
    cards = [
        {**card, "accessConfigs": [{"natIp": SPOKE_IP, **access} for access in card.get("accessConfigs", [])]}
        for card in inputs["networkInterfaces"]
    ]
    return {"selfLink": link_of(name), "networkInterfaces": cards}


def interface_of(instance: str) -> str:
    """The id of the network interface that an AWS instance has."""
    return f"eni-of-{instance}"


def link_of(instance: str) -> str:
    """What a GCP instance is called in full."""
    return f"https://www.googleapis.com/compute/v1/{instance}"


def id_of(kind: str, name: str) -> str:
    """The id that a resource gets: a number, as Hetzner's are, and the same in every run."""
    return str(zlib.crc32(f"{kind} {name}".encode()))


class _Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        inputs = cast("dict[str, Json]", cast("Any", args).inputs)
        return id_of(args.typ, args.name), {**inputs, **_made(args.typ, args.name, inputs)}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        if args.token == "aws:index/getCallerIdentity:getCallerIdentity":
            return {"accountId": ACCOUNT, "arn": "", "id": ACCOUNT, "userId": ""}
        if args.token == "cloudflare:index/getIpRanges:getIpRanges":
            return {**PUBLISHED, "etag": "", "jdcloudCidrs": []}
        assert args.token == "aws:ec2/getAmi:getAmi"
        asked = cast("dict[str, Json]", cast("Any", args).args)
        if "owners" not in asked:
            (ami,) = asked["filters"][0]["values"]
            return {"id": ami, "rootDeviceName": "/dev/xvda"}
        return {"id": f"ami-of-{asked['owners'][0]}-in-{asked['region']}", "rootDeviceName": "/dev/sda1"}


class _Monitor(mocks.MockMonitor):
    def __init__(self, run: Run) -> None:
        super().__init__(_Mocks())
        self._run = run

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the protocol's name
        if request.type != "pulumi:pulumi:Stack":
            raw = cast("dict[str, Json]", rpc.deserialize_properties(request.object, keep_unknowns=True))
            parent = request.parent.rpartition("::")[2]
            self._run.resources.append(Registered(request.type, request.name, parent, raw, request))
        return cast("Any", super()).RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if "pulumi:pulumi:Stack::" in request.urn:
            self._run.outputs.update(cast("dict[str, Json]", rpc.deserialize_properties(request.outputs)))
        return cast("Any", super()).RegisterResourceOutputs(request)


class _Warnings(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        self._run.warnings.append(record.getMessage())


def run_program(
    config: Mapping[str, Any], *, secret_keys: tuple[str, ...] = ("privateKeys",), run: Run | None = None
) -> Run:
    """Runs ``__main__.py`` with ``config`` (by key, without the namespace) until everything is registered."""
    run = run or Run()
    contextvars.copy_context().run(_run, lambda: runpy.run_path(str(ROOT / "__main__.py")), config, secret_keys, run)
    return run


def register(declare: Callable[[], object]) -> Run:
    """What ``declare`` registers, instead of the program."""
    run = Run()
    contextvars.copy_context().run(_run, declare, {}, (), run)
    return run


def _run(declare: Callable[[], object], config: Mapping[str, Any], secret_keys: tuple[str, ...], run: Run) -> None:
    logger = logging.getLogger("recorder")
    logger.propagate = False
    logger.handlers = [_Warnings(run)]
    monitor = _Monitor(run)
    settings = mocks.MockSettings(
        monitor=monitor,
        monitor_features=set(cast("Any", monitor).GetDeploymentInfo(None).supportedFeatures),
        engine=mocks.MockEngine(logger),
        project="hybrid-wireguard",
        stack="dev",
        dry_run=False,
        organization=None,
        callbacks=None,
    )
    configure(settings)
    namespaced = {f"hybrid-wireguard:{key}": value for key, value in as_engine_gives(config).items()}
    pulumi.runtime.set_all_config(namespaced, [f"hybrid-wireguard:{key}" for key in secret_keys])

    # Monitor calls run on the executor's thread, where the SDK wants an event loop and would leave its own unclosed.
    loop = asyncio.new_event_loop()

    async def program() -> None:
        executor = ThreadPoolExecutor(1, initializer=asyncio.set_event_loop, initargs=(loop,))
        asyncio.get_running_loop().set_default_executor(executor)
        await pulumi.runtime.run_in_stack(lambda: cast("None", declare() and None))

    try:
        asyncio.run(program())
    finally:
        loop.close()
