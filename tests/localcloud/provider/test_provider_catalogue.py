"""The catalogue's rows and the SDK's classes agree; names and types are the SDK's own."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from localcloud.provider import catalogue
from localcloud.provider.catalogue import Property, Type, UnknownTokenError
from localcloud.provider.clouds import KINDS, LOOKUPS, project
from localcloud.provider.clouds.aws.common import AwsKind
from localcloud.provider.clouds.gcp.common import GcpKind
from localcloud.provider.kind import Kind, Lookup
from localcloud.provider.typecheck import Checker
from localcloud.provider.world import World
from localcloud.wire import UNKNOWN, Secret, Value

REQUIRED_KINDS = """
hcloud: SshKey Firewall FirewallAttachment PrimaryIp Server Network NetworkSubnet NetworkRoute ServerNetwork
 PlacementGroup
aws: Vpc Subnet InternetGateway RouteTable Route RouteTableAssociation KeyPair SecurityGroup SecurityGroupIngressRule
 SecurityGroupEgressRule Instance Eip EipAssociation LaunchTemplate Group LifecycleHook Role InstanceProfile
gcp: Network Subnetwork Router RouterNat Route Firewall Instance Address InstanceTemplate RegionInstanceGroupManager
 Account
tls: PrivateKey SelfSignedCert LocallySignedCert CertRequest
cloudflare: DnsRecord OriginCaCertificate LoadBalancerMonitor LoadBalancerPool LoadBalancer Healthcheck ZoneSetting
"""


def test_the_catalogue_holds_what_programs_of_this_kind_use() -> None:
    wanted: set[tuple[str, str]] = set()
    package = ""
    for word in REQUIRED_KINDS.split():
        if word.endswith(":"):
            package = word[:-1]
        else:
            wanted.add((package, word))
    assert {(token.partition(":")[0], token.rpartition(":")[2]) for token in KINDS} == wanted


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.token)
def test_every_row_names_a_property_of_the_sdk(kind: Kind) -> None:
    inputs, outputs = kind.shape.inputs, kind.shape.outputs
    for path in kind.replace:
        assert _exists(path, inputs), f"{path} replaces, but the SDK has no such property"
    assert kind.defaults.keys() <= outputs.keys()
    assert kind.secrets <= outputs.keys()
    if kind.naming is not None:
        assert kind.naming.property in inputs
    if isinstance(kind, (AwsKind, GcpKind)):
        assert set(kind.unsupported) <= inputs.keys()


@pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=lambda lookup: lookup.token)
def test_every_lookup_is_a_function_of_the_sdk(lookup: object) -> None:
    assert isinstance(lookup, Lookup)
    assert lookup.shape.outputs


def test_a_misspelt_token_is_told_the_nearest() -> None:
    with pytest.raises(UnknownTokenError, match="did you mean Server"):
        catalogue.resource("hcloud:index/server:Sever")
    with pytest.raises(UnknownTokenError, match="unknown module"):
        catalogue.resource("aws:ec3/instance:Instance")
    with pytest.raises(UnknownTokenError, match="unknown function"):
        catalogue.function("aws:ec2/getAmy:getAmy")


def test_shapes_may_be_asked_for_by_many_at_once() -> None:
    """The SDKs load their modules on first use; whoever asks meanwhile must not see half a module."""
    problems: list[Exception] = []

    def ask(token: str) -> None:
        try:
            catalogue.resource(token)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=ask, args=(token,)) for token in KINDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@pytest.mark.parametrize(
    ("shape", "value", "normal"),
    [
        ("integer", "5", 5),
        ("integer", 5, 5),
        ("number", "0.5", 0.5),
        ("string", 5, "5"),
        ("string", True, "true"),
        ("boolean", "true", True),
        ("string", UNKNOWN, UNKNOWN),
        ("integer", Secret("7"), Secret(7)),
        ("any", ["x"], ["x"]),
    ],
)
def test_values_are_taken_as_providers_take_them(shape: catalogue.Shape, value: Value, normal: Value) -> None:
    checker = Checker()
    assert checker.properties({"a": value}, {"a": Property(Type(shape), True)}) == {"a": normal}
    assert not checker.failures


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("integer", "five"),
        ("integer", 0.5),
        ("integer", True),
        ("boolean", "yes"),
        ("boolean", 1),
        ("string", ["a"]),
        ("string", {}),
        ("list", "a"),
        ("object", []),
        ("map", "a"),
    ],
)
def test_values_of_another_type_are_refused(shape: catalogue.Shape, value: Value) -> None:
    checker = Checker()
    declared = Type(shape, element=Type("string")) if shape in ("list", "map") else Type(shape)
    checker.properties({"a": value}, {"a": Property(declared, False)})
    assert [failure.path for failure in checker.failures] == ["a"]


def test_what_the_engine_adds_of_its_own_is_no_property() -> None:
    checker = Checker()
    assert checker.properties({"__defaults": [], "a": None}, {"a": Property(Type("string"), False)}) == {}
    assert not checker.failures


def test_an_empty_world_has_no_machines() -> None:
    assert project(World.empty()) == {}


def _exists(path: str, properties: Mapping[str, Property]) -> bool:
    head, _, rest = path.partition(".")
    name = head.removesuffix("[]")
    if name not in properties:
        return False
    declared = properties[name].type
    inner = declared.element if head.endswith("[]") else declared
    return not rest or (inner is not None and _exists(rest, inner.properties))
