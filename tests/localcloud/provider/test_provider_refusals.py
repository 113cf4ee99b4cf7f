"""What the clouds refuse is refused when it is checked, and so in a preview: in their words, at the right property."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.wire import UNKNOWN, Value
from tests.localcloud.provider.harness import Harness, RefusedError
from tests.localcloud.provider.refusal_aws import AWS
from tests.localcloud.provider.refusal_aws_groups import AWS_GROUPS
from tests.localcloud.provider.refusal_base import GOOD
from tests.localcloud.provider.refusal_gcp import GCP
from tests.localcloud.provider.refusal_gcp_groups import GCP_GROUPS
from tests.localcloud.provider.refusal_hcloud import HCLOUD, TLS
from tests.localcloud.provider.scenery import (
    REGION,
    Made,
    ami,
    make_everything,
)


@dataclass(frozen=True)
class Scene:
    """Everything made once, which every case looks at and none changes."""

    clouds: Harness
    made: Made
    ami: str

    def fill(self, value: Value) -> Value:
        """The value with `$name` as the id of what was made under that name, `#name` as its number."""
        match value:
            case str() if value == "$ami":
                return self.ami
            case "$interface":
                return self.made["instance"].outputs["primaryNetworkInterfaceId"]
            case str() if value.startswith("$") and value[1:] in self.made:
                return self.made[value[1:]].id
            case str() if value.startswith("#") and value[1:] in self.made:
                return self.made[value[1:]].number
            case list():
                return [self.fill(item) for item in value]
            case dict():
                return {name: self.fill(item) for name, item in value.items()}
            case _:
                return value


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    directory: Path = tmp_path_factory.mktemp("refusals")
    clouds = Harness(directory)
    yield Scene(clouds, make_everything(clouds), ami(clouds))
    clouds.close()


@pytest.mark.parametrize("token", GOOD)
def test_what_the_cases_start_from_passes(scene: Scene, token: str) -> None:
    scene.clouds.check(token, {name: scene.fill(value) for name, value in GOOD[token].items()}, "unlike")


@pytest.mark.parametrize(
    ("token", "change", "path", "reason"),
    [*HCLOUD, *AWS, *AWS_GROUPS, *GCP, *GCP_GROUPS, *TLS],
    ids=lambda value: value.rpartition(":")[2][:50] if isinstance(value, str) else None,
)
def test_it_is_refused(scene: Scene, token: str, change: Mapping[str, Value], path: str, reason: str) -> None:
    inputs = {name: scene.fill(value) for name, value in {**GOOD[token], **change}.items() if value is not None}
    with pytest.raises(RefusedError) as refused:
        scene.clouds.check(token, inputs, "unlike")
    told = dict(refused.value.failures)
    assert path in told, refused.value.failures
    assert any(at == path and reason in why for at, why in refused.value.failures), told


def test_an_unknown_value_is_refused_by_nobody(scene: Scene) -> None:
    for token, inputs in GOOD.items():
        required = scene.fill(dict.fromkeys(inputs, UNKNOWN))
        assert isinstance(required, dict)
        scene.clouds.check(token, required, "unlike")


def test_missing_configuration_is_told(tmp_path: Path) -> None:
    clouds = Harness(tmp_path, {})
    try:
        with pytest.raises(RefusedError, match="Missing Region"):
            clouds.check(aws.VPC, {"cidrBlock": "10.0.0.0/24"})
        with pytest.raises(RefusedError, match="project: required field is not set"):
            clouds.check(gcp.NETWORK, {"name": "net"})
        with pytest.raises(RefusedError, match="Missing Region"):
            clouds.invoke("aws:index/getAvailabilityZones:getAvailabilityZones")
    finally:
        clouds.close()


def test_a_name_that_the_same_update_makes_may_be_used(tmp_path: Path) -> None:
    clouds = Harness(tmp_path)
    router: dict[str, Value] = {"name": "router", "network": "net", "region": REGION}
    try:
        with pytest.raises(RefusedError, match="cannot be found"):
            clouds.check(gcp.ROUTER, router)
        clouds.check(gcp.NETWORK, {"name": "net", "autoCreateSubnetworks": False})
        clouds.check(gcp.ROUTER, router)
        with pytest.raises(RefusedError, match="cannot be found"):
            clouds.make(gcp.ROUTER, name="router", network="net", region=REGION)
    finally:
        clouds.close()


def test_kinds_and_functions_that_are_not_there_are_told(clouds: Harness) -> None:
    with pytest.raises(grpc.RpcError, match="does not know the resource type hcloud:index/volume:Volume"):
        clouds.check("hcloud:index/volume:Volume", {})
    with pytest.raises(RefusedError, match="does not know the function aws:ec2/getEips:getEips"):
        clouds.invoke("aws:ec2/getEips:getEips")
    with pytest.raises(RefusedError, match="did you mean"):
        clouds.invoke("aws:ec2/getAmi:getAmi", owner=["x"])
