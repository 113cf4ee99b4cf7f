"""The servers as the daemon starts them, and the parts of the protocol that are not about resources."""

from __future__ import annotations

import json
import stat
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from localcloud.cloud import Cloud
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.provider.server import serve
from localcloud.wire import Secret, Value, from_struct, to_struct
from tests.localcloud.provider.harness import Harness, Recorder, RefusedError


def test_the_daemon_is_told_the_ports_and_writes_them_down(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "instance")
    providers = serve(cloud, Recorder())
    ports = providers.ports
    assert json.loads(cloud.providers.read_text()) == ports
    assert stat.S_IMODE(cloud.providers.stat().st_mode) == 0o600
    assert ports.keys() == {"hcloud", "aws", "gcp", "tls", "cloudflare"}
    for package, port in ports.items():
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)
            assert stub.GetPluginInfo(Empty()).version == version(f"pulumi-{package}")


@pytest.mark.parametrize("package", ["hcloud", "aws", "gcp", "tls", "cloudflare"])
def test_an_engine_may_attach(clouds: Harness, package: str) -> None:
    stub = clouds.stubs[package]
    assert stub.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address="x")).accept_secrets
    stub.Attach(plugin_pb2.PluginAttach(address="127.0.0.1:1"))
    assert json.loads(stub.GetSchema(provider_pb2.GetSchemaRequest()).schema)["name"] == package
    configured = stub.Configure(provider_pb2.ConfigureRequest(acceptSecrets=True))
    assert configured.acceptSecrets
    assert configured.supportsPreview
    assert stub.DiffConfig(provider_pb2.DiffRequest()).changes == provider_pb2.DiffResponse.DIFF_NONE
    stub.Cancel(Empty())


def test_settings_of_a_provider_that_it_does_not_have_are_refused(clouds: Harness) -> None:
    def check(**settings: Value) -> list[str]:
        request = provider_pb2.CheckRequest(
            urn="urn:pulumi:dev::p::pulumi:providers:aws::default", news=to_struct(settings)
        )
        return [failure.reason for failure in clouds.stubs["aws"].CheckConfig(request).failures]

    assert check(region="eu-central-1", version="7.0.0", __internal={}) == []
    assert check(regoin="eu-central-1") == ['Invalid or unknown key "regoin"; did you mean "region"?']
    assert check(defaultTags="{}") == ["the local cloud cannot honour defaultTags"]


def test_settings_come_as_variables_or_as_arguments(clouds: Harness) -> None:
    stub = clouds.stubs["aws"]
    stub.Configure(provider_pb2.ConfigureRequest(acceptSecrets=True, args=to_struct({"region": "us-east-1"})))
    assert clouds.invoke("aws:index/getRegion:getRegion")["region"] == "us-east-1"
    stub.Configure(provider_pb2.ConfigureRequest(acceptSecrets=True, variables={"gcp:config:region": "x"}))
    with pytest.raises(RefusedError, match="Missing Region"):
        clouds.invoke("aws:index/getRegion:getRegion")


def test_an_engine_without_secrets_gets_none(clouds: Harness) -> None:
    clouds.stubs["tls"].Configure(provider_pb2.ConfigureRequest(acceptSecrets=False))
    key = clouds.make("tls:index/privateKey:PrivateKey", algorithm="ED25519")
    assert isinstance(key.outputs["privateKeyPem"], str)


def test_no_message_repeats_a_secret(clouds: Harness) -> None:
    inputs: dict[str, Value] = {"serverType": "cx23", "image": "debian-12"}
    secrets: dict[str, Value] = {"backups": "hunter2", "name": "hunter_2", "sshKeys": ["hunter2"]}
    for name, value in secrets.items():
        with pytest.raises(RefusedError) as refused:
            clouds.check(hcloud.SERVER, {**inputs, name: Secret(value)})
        assert "[secret]" in str(refused.value)
        assert "hunter" not in str(refused.value)


def test_a_resource_may_be_adopted_by_its_id_alone(clouds: Harness) -> None:
    server = clouds.make(hcloud.SERVER, name="web", serverType="cx23", image="debian-12")
    response = clouds.stubs["hcloud"].Read(
        provider_pb2.ReadRequest(id=server.id, urn=f"urn:pulumi:dev::test::{hcloud.SERVER}::adopted")
    )
    assert response.id == server.id
    assert from_struct(response.inputs) == server.inputs
    assert from_struct(response.properties)["ipv4Address"] == server.outputs["ipv4Address"]
