"""A program with every kind of resource, run by an engine against the servers; each engine sees the same."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcloud.driver import Driver, PulumiCli, SmallEngine
from localcloud.stacks import Stack
from tests.localcloud.provider.harness import Harness

ROOT = Path(__file__).resolve().parents[3]
RESOURCES = 45
"""With the stack itself."""


@dataclass
class Runs:
    """An engine, and the clouds that it drives."""

    clouds: Harness
    shown: io.StringIO
    start: Callable[[str], Driver]
    directory: Path


@pytest.fixture(params=["small", pytest.param("cli", marks=pytest.mark.pulumi_cli)])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Runs]:
    clouds = Harness(tmp_path / "clouds")
    shown = io.StringIO()
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(Path(__file__).with_name("programs.py"), project / "__main__.py")
    (project / "Pulumi.yaml").write_text("name: everything\nruntime: python\n")
    (project / "Pulumi.dev.yaml").write_text("config:\n  aws:region: eu-central-1\n  gcp:project: my-project\n")
    providers = ",".join(f"{package}:{port}" for package, port in clouds.ports.items())

    def start(variant: str) -> Driver:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI")}
        environment |= {
            "PULUMI_DEBUG_PROVIDERS": providers,
            "PULUMI_CONFIG_PASSPHRASE": "x",
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VARIANT": variant,
        }
        stack = Stack(project, "dev", tmp_path / "instance", environment)
        if request.param == "small":
            return SmallEngine(stack, shown)
        return PulumiCli(stack, shutil.which("pulumi") or "pulumi", shown)

    yield Runs(clouds, shown, start, tmp_path)
    clouds.close()


def test_a_program_of_every_kind_lives_and_ends(runs: Runs) -> None:
    engine = runs.start("")
    assert engine.preview().counts == {"create": RESOURCES}, runs.shown.getvalue()
    assert runs.clouds.fabric.history == []
    done = engine.up()
    assert done.succeeded, runs.shown.getvalue()
    assert done.counts == {"create": RESOURCES}
    assert runs.clouds.fabric.nodes == ["aws-1", "gcp-1", "hetzner-gw"]
    assert engine.preview().counts == {"unchanged": RESOURCES}
    assert engine.up().counts == {"unchanged": RESOURCES}
    assert engine.outputs()["gateway"] == runs.clouds.fabric.machine("hetzner-gw").interfaces[0].public
    assert engine.outputs()["elastic"] == runs.clouds.fabric.machine("aws-1").interfaces[0].public
    assert runs.start("in place").up().counts == {"update": 2, "unchanged": RESOURCES - 2}
    changed = runs.start("user data").up()
    assert changed.succeeded, runs.shown.getvalue()
    assert changed.counts.get("replace") == 3, "the server, its place in the network, and Google's template"
    assert runs.start("user data").preview().counts == {"unchanged": RESOURCES}
    assert runs.clouds.fabric.nodes == ["aws-1", "gcp-1", "hetzner-gw"]
    ended = engine.destroy()
    assert ended.succeeded, runs.shown.getvalue()
    assert runs.clouds.fabric.nodes == []


def test_what_a_cloud_refuses_is_told_in_the_preview_and_changes_nothing(runs: Runs) -> None:
    outcome = runs.start("refused").preview()
    assert not outcome.succeeded
    assert 'Server Type "cx22" is unavailable' in runs.shown.getvalue()
    assert runs.clouds.fabric.history == []


def test_no_secret_is_in_plain_text(runs: Runs) -> None:
    engine = runs.start("")
    assert engine.up().succeeded, runs.shown.getvalue()
    assert "PRIVATE KEY" in runs.clouds.cloud.world.read_text(), "the clouds know the user data"
    written = [path for path in runs.directory.rglob("*") if path.is_file() and path != runs.clouds.cloud.world]
    leaks = [path for path in written if b"PRIVATE KEY-----" in path.read_bytes()]
    assert leaks == []
    assert "PRIVATE KEY-----" not in runs.shown.getvalue()


RENEWING = """
import os
import pulumi
import pulumi_tls as tls

early = int(os.environ["VARIANT"])
key = tls.PrivateKey("key", algorithm="ECDSA", ecdsa_curve="P256")
authority = tls.SelfSignedCert(
    "authority", private_key_pem=key.private_key_pem, subject={"common_name": "acme"}, is_ca_certificate=True,
    allowed_uses=["cert_signing"], validity_period_hours=48,
)
request = tls.CertRequest("request", private_key_pem=key.private_key_pem, dns_names=["acme.example"])
certificate = tls.LocallySignedCert(
    "certificate", cert_request_pem=request.cert_request_pem, ca_private_key_pem=key.private_key_pem,
    ca_cert_pem=authority.cert_pem, allowed_uses=["server_auth"], validity_period_hours=24, early_renewal_hours=early,
)
pulumi.export("certificate", certificate.cert_pem)
"""


def test_a_certificate_that_is_due_is_made_anew_by_the_next_update(runs: Runs) -> None:
    (runs.directory / "project" / "__main__.py").write_text(RENEWING)
    far, due = runs.start("23"), runs.start("24")
    assert far.up().succeeded, runs.shown.getvalue()
    assert far.up().counts == {"unchanged": 5}
    first = far.outputs()["certificate"]
    assert due.preview().counts == {"replace": 1, "unchanged": 4}
    assert due.up().counts == {"replace": 1, "unchanged": 4}
    second = due.outputs()["certificate"]
    assert due.up().counts == {"replace": 1, "unchanged": 4}, "time alone makes it due, without a changed input"
    assert len({first, second, due.outputs()["certificate"]}) == 3
