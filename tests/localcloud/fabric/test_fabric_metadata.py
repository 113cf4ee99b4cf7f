"""What 169.254.169.254 tells each cloud's machines."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from localcloud.fabric.metadata import TOKEN, TOKEN_TTL, Answer, Request, Tokens, answer
from localcloud.spec import JSON, MachineSpec
from tests.localcloud.fabric.worlds import AWS, GCP, HETZNER


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def get(spec: MachineSpec, path: str, tokens: Tokens | None = None, **headers: str) -> Answer:
    url, _, query = path.partition("?")
    pairs = dict(pair.split("=") for pair in query.split("&") if pair)
    request = Request("GET", url, pairs, {name.replace("_", "-"): value for name, value in headers.items()})
    return answer(spec, request, tokens or Tokens())


def token_of(spec: MachineSpec, tokens: Tokens, ttl: str = "60", **headers: str) -> Answer:
    given = {TOKEN_TTL: ttl, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return answer(spec, Request("PUT", "/latest/api/token", headers=given), tokens)


def ask_aws(path: str, spec: MachineSpec = AWS) -> Answer:
    tokens = Tokens()
    return answer(spec, Request("GET", path, headers={TOKEN: token_of(spec, tokens).body}), tokens)


def with_imds(**imds: JSON) -> MachineSpec:
    return replace(AWS, metadata={**AWS.metadata, "imds": imds})


def test_ec2_without_a_token_answers_nothing_where_tokens_are_required() -> None:
    assert get(AWS, "/latest/meta-data/instance-id").status == 401
    assert get(AWS, "/latest/user-data").body == ""
    assert get(with_imds(tokens_required=False), "/latest/meta-data/instance-id").body == AWS.id


def test_ec2_token_is_good_for_its_machine_and_its_time() -> None:
    clock = Clock()
    tokens = Tokens(clock)
    other = replace(AWS, id="i-2")
    token = token_of(AWS, tokens, "60").body

    def status(spec: MachineSpec, value: str) -> int:
        return answer(spec, Request("GET", "/latest/meta-data/instance-id", headers={TOKEN: value}), tokens).status

    assert status(AWS, token) == 200
    assert status(other, token) == 401
    assert status(AWS, "made-up") == 401
    clock.now = 61
    assert status(AWS, token) == 401


@pytest.mark.parametrize("ttl", ["", "0", "21601", "ten", "-1", "1.5"])
def test_ec2_refuses_a_token_without_a_right_lifetime(ttl: str) -> None:
    assert token_of(AWS, Tokens(), ttl).status == 400


def test_ec2_refuses_a_token_to_what_was_forwarded_and_limits_its_hops() -> None:
    assert token_of(AWS, Tokens(), x_forwarded_for="192.0.2.1").status == 403
    assert token_of(AWS, Tokens()).hops == 1
    assert token_of(with_imds(hop_limit=2), Tokens()).hops == 2


def test_ec2_metadata_can_be_switched_off() -> None:
    assert token_of(with_imds(enabled=False), Tokens()).status == 403


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/latest/", "dynamic/\nmeta-data/\nuser-data"),
        ("/2021-03-23/meta-data/instance-id", AWS.id),
        ("/latest/meta-data/placement/", "availability-zone\nregion"),
        ("/latest/meta-data/placement/availability-zone", "eu-central-1a"),
        ("/latest/meta-data/local-ipv4", "10.0.1.10"),
        ("/latest/meta-data/public-ipv4", "198.18.2.7"),
        ("/latest/meta-data/instance-type", "t3.micro"),
        ("/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA someone"),
        ("/latest/user-data", AWS.user_data),
    ],
)
def test_ec2_tree(path: str, body: str) -> None:
    assert ask_aws(path) == Answer(200, body)


def test_ec2_identity_document_and_tags() -> None:
    document = json.loads(ask_aws("/latest/dynamic/instance-identity/document").body)
    assert (document["instanceId"], document["region"]) == (AWS.id, "eu-central-1")
    assert ask_aws("/latest/meta-data/tags/instance/node").status == 404
    assert ask_aws("/latest/meta-data/tags/instance/node", with_imds(instance_tags=True)).body == "aws-1"


@pytest.mark.parametrize(
    "path", ["/latest/meta-data/nothing", "/latest/meta-data/spot/instance-action", "/other/user-data"]
)
def test_ec2_says_404_to_what_it_has_not(path: str) -> None:
    assert ask_aws(path).status == 404


def test_ec2_without_user_data_or_public_address_has_no_such_key() -> None:
    card = replace(AWS.interfaces[0], public=None)
    bare = replace(AWS, user_data="", interfaces=(card,))
    assert ask_aws("/latest/user-data", bare).status == 404
    assert ask_aws("/latest/meta-data/public-ipv4", bare).status == 404


def test_gce_wants_its_header_and_answers_with_it() -> None:
    path = "/computeMetadata/v1/instance/attributes/user-data"
    assert get(GCP, path).status == 403
    assert get(GCP, path, metadata_flavor="Google", x_forwarded_for="192.0.2.1").status == 403
    assert get(GCP, path, metadata_flavor="Google") == Answer(200, GCP.user_data, {"Metadata-Flavor": "Google"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("instance/zone", "projects/p/zones/europe-west3-a"),
        ("instance/name", "gcp-1"),
        ("instance/network-interfaces/0/ip", "10.0.1.10"),
        ("instance/network-interfaces/", "0/"),
        ("instance/preempted", "FALSE"),
        ("project/project-id", "p"),
    ],
)
def test_gce_tree(path: str, body: str) -> None:
    assert get(GCP, f"/computeMetadata/v1/{path}", metadata_flavor="Google").body == body


def test_gce_recursive_answers_are_json_in_camel_case_with_attributes_as_they_are() -> None:
    def ask(path: str) -> Any:
        return json.loads(get(GCP, f"/computeMetadata/v1/{path}?recursive=true", metadata_flavor="Google").body)

    instance = ask("instance/")
    assert instance["networkInterfaces"][0]["ip"] == "10.0.1.10"
    assert instance["attributes"] == {"user-data": GCP.user_data}
    assert ask("instance/attributes/") == {"user-data": GCP.user_data}


def test_gce_external_address_only_where_there_is_one() -> None:
    path = "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip"
    assert get(GCP, path, metadata_flavor="Google").status == 404
    public = replace(GCP, interfaces=(replace(GCP.interfaces[0], public="198.18.3.9"),))
    assert get(public, path, metadata_flavor="Google").body == "198.18.3.9"


def test_hetzner_tree() -> None:
    assert get(HETZNER, "/hetzner/v1/userdata").body == HETZNER.user_data
    assert get(HETZNER, "/hetzner/v1/metadata/public-ipv4").body == "198.18.1.5"
    assert "instance-id: 101\n" in get(HETZNER, "/hetzner/v1/metadata").body
    assert get(HETZNER, "/hetzner/v1/metadata/nothing").status == 404
    assert get(HETZNER, "/latest/meta-data").status == 404


def test_a_machine_is_told_its_own_clouds_id() -> None:
    told = replace(HETZNER, metadata={"instance_id": "4700005"})
    assert get(told, "/hetzner/v1/metadata/instance-id").body == "4700005"
    told = replace(GCP, metadata={"instance_id": "815"})
    assert get(told, "/computeMetadata/v1/instance/id", metadata_flavor="Google").body == "815"


def test_only_ec2_takes_a_put() -> None:
    for spec in (GCP, HETZNER):
        assert token_of(spec, Tokens()).status == 405
