"""What 169.254.169.254 tells each cloud's machines."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from localcloud.cloud import Cloud
from localcloud.fabric.authority import Authority
from localcloud.fabric.metadata import TOKEN, TOKEN_TTL, Answer, Request, Tokens
from localcloud.fabric.metadata import answer as signed_answer
from localcloud.spec import INTERNET, JSON, Interface, MachineSpec
from tests.localcloud.fabric.worlds import AWS, GCP, HETZNER


class Nobody:
    """Signs where nobody looks at the signature."""

    def signature(self, document: bytes) -> str:
        return ""

    def token(self, claims: object) -> str:
        raise AssertionError("nobody asked for one")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Cloud(tmp_path_factory.mktemp("authority") / "cloud"))


def answer(spec: MachineSpec, request: Request, tokens: Tokens) -> Answer:
    return signed_answer(spec, request, tokens, Nobody())


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


def ask_aws(path: str, spec: MachineSpec = AWS, signer: Authority | Nobody | None = None) -> Answer:
    tokens = Tokens()
    request = Request("GET", path, headers={TOKEN: token_of(spec, tokens).body})
    return signed_answer(spec, request, tokens, signer or Nobody())


def told(spec: MachineSpec, **metadata: JSON) -> MachineSpec:
    return replace(spec, metadata={**spec.metadata, **metadata})


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


def test_ec2_identity_document_says_what_amazons_does() -> None:
    document = json.loads(ask_aws("/latest/dynamic/instance-identity/document").body)
    assert document == {
        "accountId": "123456789012",
        "architecture": "x86_64",
        "availabilityZone": "eu-central-1a",
        "billingProducts": None,
        "devpayProductCodes": None,
        "imageId": "ami-1",
        "instanceId": AWS.id,
        "instanceType": "t3.micro",
        "kernelId": None,
        "marketplaceProductCodes": None,
        "pendingTime": "2026-03-04T05:06:07Z",
        "privateIp": "10.0.1.10",
        "ramdiskId": None,
        "region": "eu-central-1",
        "version": "2017-09-30",
    }


def test_ec2_identity_signature_is_over_the_documents_exact_bytes(authority: Authority) -> None:
    document, signature = (
        ask_aws(f"/latest/dynamic/instance-identity/{name}", signer=authority).body
        for name in ("document", "signature")
    )
    key: Any = x509.load_pem_x509_certificate(authority.aws_certificate.encode()).public_key()
    key.verify(base64.b64decode(signature), document.encode(), PKCS1v15(), hashes.SHA256())
    forged = document.replace(AWS.id, "i-2")
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature), forged.encode(), PKCS1v15(), hashes.SHA256())


def test_ec2_tags_only_where_they_are_let_out() -> None:
    assert ask_aws("/latest/meta-data/tags/instance/node").status == 404
    assert ask_aws("/latest/meta-data/tags/instance/node", with_imds(instance_tags=True)).body == "aws-1"


@pytest.mark.parametrize(
    "path",
    [
        "/latest/meta-data/nothing",
        "/latest/meta-data/spot/instance-action",
        "/latest/meta-data/spot/termination-time",
        "/latest/meta-data/autoscaling/target-lifecycle-state",
        "/latest/meta-data/events/recommendations/rebalance",
        "/other/user-data",
    ],
)
def test_ec2_says_404_to_what_it_has_not(path: str) -> None:
    assert ask_aws(path).status == 404


def test_ec2_tells_of_an_interruption_a_recommendation_and_the_groups_wish() -> None:
    time_ = "2026-03-04T05:08:07Z"
    member = told(
        AWS, lifecycle="spot", lifecycle_state="Terminated", rebalance=time_,
        spot_action={"action": "terminate", "time": time_},
    )  # fmt: skip

    def ask(path: str) -> str:
        return ask_aws(f"/latest/meta-data/{path}", member).body

    assert json.loads(ask("spot/instance-action")) == {"action": "terminate", "time": time_}
    assert ask("spot/termination-time") == time_
    assert ask("autoscaling/target-lifecycle-state") == "Terminated"
    assert json.loads(ask("events/recommendations/rebalance")) == {"noticeTime": time_}
    assert ask("instance-life-cycle") == "spot"


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
        ("instance/zone", "projects/4711/zones/europe-west3-a"),
        ("instance/machine-type", "projects/4711/machineTypes/e2-small"),
        ("instance/maintenance-event", "NONE"),
        ("instance/scheduling/preemptible", "FALSE"),
        ("instance/service-accounts/default/email", "burst@p.iam.gserviceaccount.com"),
        ("instance/name", "gcp-1"),
        ("instance/network-interfaces/0/ip", "10.0.1.10"),
        ("instance/network-interfaces/", "0/"),
        ("instance/preempted", "FALSE"),
        ("project/project-id", "p"),
        ("project/numeric-project-id", "4711"),
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


def test_gce_tells_of_a_preemption() -> None:
    spot = told(GCP, preempted=True, preemptible=True)
    for name in ("preempted", "scheduling/preemptible"):
        assert get(spot, f"/computeMetadata/v1/instance/{name}", metadata_flavor="Google").body == "TRUE"


def identity(spec: MachineSpec, query: dict[str, str], signer: Authority, account: str = "default") -> Answer:
    path = f"/computeMetadata/v1/instance/service-accounts/{account}/identity"
    return signed_answer(spec, Request("GET", path, query, {"metadata-flavor": "Google"}), Tokens(), signer)


def claims_of(token: str, authority: Authority, audience: str) -> dict[str, Any]:
    """The claims, verified as a gateway does: by the key that the token names among those that are published."""
    keys = jwt.PyJWKSet.from_dict(dict(authority.key_set()))
    (key,) = [key for key in keys.keys if key.key_id == jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key.key, algorithms=["RS256"], audience=audience, issuer="https://accounts.google.com")


def test_gce_identity_token_names_the_instance_to_its_audience_for_an_hour(authority: Authority) -> None:
    before = int(time.time())
    found = identity(GCP, {"audience": "hybridnet:p:k", "format": "full"}, authority)
    assert found.status == 200
    claims = claims_of(found.body, authority, "hybridnet:p:k")
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["sub"] == claims["azp"]
    assert claims["sub"].isdecimal()
    assert claims["email"] == "burst@p.iam.gserviceaccount.com"
    assert claims["google"]["compute_engine"] == {
        "instance_creation_timestamp": 1772600767,
        "instance_id": GCP.id,
        "instance_name": "gcp-1",
        "project_id": "p",
        "project_number": 4711,
        "zone": "europe-west3-a",
    }
    with pytest.raises(jwt.InvalidAudienceError):
        claims_of(found.body, authority, "hybridnet:p:other")


def test_gce_identity_token_without_the_full_format_names_no_instance(authority: Authority) -> None:
    token = identity(GCP, {"audience": "a"}, authority, account="burst@p.iam.gserviceaccount.com").body
    assert claims_of(token, authority, "a").keys() == {"aud", "azp", "exp", "iat", "iss", "sub"}


def test_gce_identity_token_needs_an_audience_a_known_format_and_a_service_account(authority: Authority) -> None:
    assert identity(GCP, {}, authority).status == 400
    assert identity(GCP, {"audience": "a", "format": "long"}, authority).status == 400
    assert identity(GCP, {"audience": "a"}, authority, account="other@p").status == 404
    assert identity(told(GCP, service_account=None), {"audience": "a"}, authority).status == 404


def test_hetzner_tree() -> None:
    assert get(HETZNER, "/hetzner/v1/userdata").body == HETZNER.user_data
    assert get(HETZNER, "/hetzner/v1/metadata/public-ipv4").body == "198.18.1.5"
    assert "instance-id: 101\n" in get(HETZNER, "/hetzner/v1/metadata").body
    assert get(HETZNER, "/hetzner/v1/metadata/nothing").status == 404
    assert get(HETZNER, "/latest/meta-data").status == 404


def test_hetzner_tells_of_the_cards_on_private_networks() -> None:
    cards = (
        Interface("eth0", INTERNET, None, 32, 1500, address6="2001:db8:1::6"),
        Interface("enp7s0", "hcloud-7", "10.1.0.2", 16, 1450),
    )
    told = get(replace(HETZNER, interfaces=cards), "/hetzner/v1/metadata/private-networks").body
    assert json.loads(told) == [{"ip": "10.1.0.2", "interface_num": 1}]


def test_a_machine_is_told_its_own_clouds_id() -> None:
    told = replace(HETZNER, metadata={"instance_id": "4700005"})
    assert get(told, "/hetzner/v1/metadata/instance-id").body == "4700005"
    told = replace(GCP, metadata={"instance_id": "815"})
    assert get(told, "/computeMetadata/v1/instance/id", metadata_flavor="Google").body == "815"


def test_only_ec2_takes_a_put() -> None:
    for spec in (GCP, HETZNER):
        assert token_of(spec, Tokens()).status == 405
