"""`secret` seals what it reads from standard input into the stack's file as the CLI does, and leaves the rest alone."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from localcloud.cli.desk import PASSPHRASE
from localcloud.cli.parser import main
from localcloud.cloud import PROJECT
from localcloud.engine import stackfile
from localcloud.engine.config import load_project, load_stack, parse, resolve
from localcloud.engine.errors import EngineError
from tests.localcloud.engine_world import SALT

PEM = "-----BEGIN KEY-----\nYWJj\n-----END KEY-----"
KEY = "hybrid-wireguard:apiKeys"
DEV = (PROJECT / "Pulumi.dev.yaml").read_text()
SEALED = re.compile(r"secure: v1:[A-Za-z0-9+/]+=*:[A-Za-z0-9+/]+=*$", re.MULTILINE)

Give = Callable[..., int]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stack.yaml"
    path.write_text(DEV)
    return path


@pytest.fixture
def give(file: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)

    def give(key: str, value: str | bytes) -> int:
        data = value if isinstance(value, bytes) else value.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return main(["secret", key, "--config-file", str(file)])

    return give


def read(file: Path, passphrase: str = PASSPHRASE) -> tuple[dict[str, str], frozenset[str]]:
    """What the program gets of the file: `apiKeys` and `tlsCertificate` by name, and which keys are secret."""
    raw, sealer = load_stack(file, passphrase)
    config = resolve(load_project(PROJECT), "dev", raw, sealer)
    texts = {}
    for key in (KEY, "hybrid-wireguard:tlsCertificate"):
        texts |= json.loads(config.values[key])
    return texts, config.secret_keys


def test_the_program_gets_what_was_sealed(file: Path, give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    assert give("apiKeys.portal", "a-token-of-the-portal\n") == 0
    assert give("hybrid-wireguard:apiKeys.batch", "a-token-of-batch") == 0
    assert give("tlsCertificate.privateKey", f"{PEM}\r\n") == 0
    texts, secret = read(file)
    assert texts == {"portal": "a-token-of-the-portal", "batch": "a-token-of-batch", "privateKey": PEM}
    assert secret == {KEY, "hybrid-wireguard:tlsCertificate"}
    said = capsys.readouterr()
    assert "published passphrase" in said.out
    assert "a-token" not in said.out + said.err + file.read_text()


def test_only_the_sealed_value_is_added(file: Path, give: Give) -> None:
    assert give("apiKeys.portal", "first") == 0
    text = file.read_text()
    assert text.startswith(DEV)
    added = f"  {KEY}:\n    portal:\n      secure: "
    assert SEALED.sub("secure: ", text[len(DEV) :]) == f"{added}\n"
    assert give("apiKeys.portal", "second") == 0
    assert len(SEALED.findall(file.read_text())) == 1
    assert read(file)[0] == {"portal": "second"}


def test_the_file_stays_whose_it_is(file: Path, give: Give, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    file.rename(tmp_path / "real.yaml")
    link.symlink_to("real.yaml")
    link.rename(file)
    assert give("apiKeys.portal", "text") == 0
    assert file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["real.yaml", "stack.yaml"]


def test_no_root_is_needed(give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert give("apiKeys.portal", "text") == 0


def test_a_terminal_is_asked_without_showing_the_answer(
    file: Path, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    def answer(prompt: str) -> str:
        return f"answer to {prompt}"

    monkeypatch.setattr("getpass.getpass", answer)
    monkeypatch.setattr(io, "TextIOWrapper", Terminal)
    assert give("apiKeys.portal", "not read") == 0
    assert read(file)[0] == {"portal": "answer to apiKeys.portal: "}


@pytest.mark.parametrize("variable", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_a_stacks_own_passphrase_seals(
    variable: str, file: Path, give: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f"encryptionsalt: {SALT}\n")
    (tmp_path / "phrase").write_text("x\n")
    monkeypatch.setenv(variable, "x" if variable == "PULUMI_CONFIG_PASSPHRASE" else str(tmp_path / "phrase"))
    assert give("apiKeys.portal", "text") == 0
    assert read(file, "x")[0] == {"portal": "text"}


def test_the_dev_stack_takes_its_own_whatever_the_environment_has(
    file: Path, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of another stack")
    assert give("apiKeys.portal", "text") == 0
    assert read(file)[0] == {"portal": "text"}


@pytest.mark.parametrize("own", [None, "mine"])
def test_a_stack_without_a_salt_gets_one(
    own: str | None, file: Path, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("# a stack\nconfig:\n  hybrid-wireguard:protect: false\n")
    if own:
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", own)
    assert give("apiKeys.portal", "text") == 0
    assert read(file, own or PASSPHRASE)[0] == {"portal": "text"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("apiKeys.portal", "\n", "standard input is empty"),
        ("apiKeys.portal", b"\xff\xfe", "not UTF-8"),
        ("apikeys.portal", "text", "no setting 'apikeys': did you mean apiKeys?"),
        ("nothing", "text", "no setting 'nothing'; docs/settings.md"),
        ("apiKeys", "text", "say which one, as in `apiKeys.NAME`"),
        ("prefix.a", "text", "write `prefix`"),
        ("adminCidrs[0]", "text", "without list indices"),
        ("apiKeys[*]", "text", "without list indices"),
        ("", "text", "names no place"),
        ("apiKeys.[", "text", "not a property path"),
        ("sites.aws", "text", "sites.aws holds several values"),
        ("sites.aws.cloud.name", "text", "sites.aws.cloud is a value itself"),
    ],
)
def test_what_cannot_be_sealed_is_refused(
    key: str, value: str | bytes, said: str, file: Path, give: Give, capsys: pytest.CaptureFixture[str]
) -> None:
    assert give(key, value) == 1
    assert said in capsys.readouterr().err
    assert file.read_text() == DEV


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        (f"encryptionsalt: {SALT}\n", "stack.yaml has a passphrase of its own"),
        ("secretsprovider: awskms://key\n", "not awskms://key: use the pulumi CLI with it"),
        (f"config:\n  {KEY}: {{secure: v1:AAAA:BBBB}}\n", "is sealed as a whole"),
        (f"config:\n  {KEY}: []\n", "is a value itself"),
        ("config: [\n", "is not valid YAML"),
    ],
)
def test_a_stack_that_cannot_be_added_to_is_refused(
    stack: str, said: str, file: Path, give: Give, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(stack)
    assert give("apiKeys.portal", "text") == 1
    assert said in capsys.readouterr().err
    assert file.read_text() == stack


def test_a_wrong_passphrase_is_refused(
    file: Path, give: Give, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"encryptionsalt: {SALT}\n")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "y")
    assert give("apiKeys.portal", "text") == 1
    assert "is not the one in the environment" in capsys.readouterr().err


def test_a_write_that_fails_changes_nothing(
    file: Path, give: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert give("apiKeys.portal", "text") == 1
    assert "No space left on device; nothing was changed" in capsys.readouterr().err
    assert file.read_text() == DEV
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_file_is_refused(file: Path, give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    file.unlink()
    assert give("apiKeys.portal", "text") == 1
    assert "there is no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "c:\n  k:\n    n:\n      s: v\n"),
        ("# only this", "# only this\nc:\n  k:\n    n:\n      s: v\n"),
        ("{}\n", "c:\n  k:\n    n:\n      s: v\n"),
        ("c:\n", "c:\n  k:\n    n:\n      s: v\n"),
        ("c: {a: b}", "c: {a: b, k: {n: {s: v}}}"),
        ("c:\n  k: {}  # none\n", "c:\n  k:\n    n:\n      s: v  # none\n"),
        ("c:\n  k: {m: b} # x\n", "c:\n  k: {m: b, n: {s: v}} # x\n"),
        ("c:\n  k: {\n    m: b, # x\n  }\n", "c:\n  k: {\n    m: b, n: {s: v}, # x\n  }\n"),
        ("c:\n  k: {n: plain}\n", "c:\n  k: {n: {s: v}}\n"),
        ("c:\n  k: {n: {s: 'old'}} # x\n", "c:\n  k: {n: {s: v}} # x\n"),
        ("c:\n  k:\n    n: plain # x\n    m: b\n", "c:\n  k:\n    n:\n      s: v # x\n    m: b\n"),
        (
            "c:\n  k:\n    n:\n      s: old # x\n  # y\n  l: [a]\n",
            "c:\n  k:\n    n:\n      s: v # x\n  # y\n  l: [a]\n",
        ),
        ("c:\n  k:\n    n:\n      s:\n", "c:\n  k:\n    n:\n      s: v\n"),
        (
            "c:\n  k:\n    m: b # x\n  # y\n  l: [a]\n",
            "c:\n  k:\n    m: b # x\n    n:\n      s: v\n  # y\n  l: [a]\n",
        ),
        ("c:\n  k:\n    n: |\n      A\n      B\n    m: b\n", "c:\n  k:\n    n:\n      s: v\n    m: b\n"),
        (
            "c:\n  k:\n    m: |\n      A\n      B\n  l: a\n",
            "c:\n  k:\n    m: |\n      A\n      B\n    n:\n      s: v\n  l: a\n",
        ),
        (
            "c:\n    l:\n      - a\n      - b: d",
            "c:\n    l:\n      - a\n      - b: d\n    k:\n      n:\n        s: v\n",
        ),
        ("c:\r\n  k:\r\n    m: b\r\n", "c:\r\n  k:\r\n    m: b\r\n    n:\n      s: v\n"),
        ("c:\n  k:\n    m: b\nd: ü\n", "c:\n  k:\n    m: b\n    n:\n      s: v\nd: ü\n"),
    ],
)
def test_a_value_is_put_into_every_style(text: str, wanted: str) -> None:
    assert stackfile.put(text, ["c", "k", "n", "s"], "v", "stack.yaml") == wanted


@pytest.mark.parametrize("name", ["true", "1", "a: b", "ü", "", "a-b", "- a"])
def test_names_that_yaml_would_misread_are_quoted(name: str) -> None:
    for text in ("c: {}", "c: {a: b}", "c:\n  a: b\n"):
        document = parse(stackfile.put(text, ["c", name, "s"], "v", "stack.yaml"), "stack.yaml")["c"]
        assert isinstance(document, dict)
        assert document[name] == {"s": "v"}


@pytest.mark.parametrize("text", ["a: &x {m: b}\nc: *x\n", "c: {n: {s: {t: u}}}"])
def test_what_would_change_something_else_is_left_to_the_reader(text: str) -> None:
    with pytest.raises(EngineError, match="put in by hand s under n under c: v1"):
        stackfile.put(text, ["c", "n", "s"], "v1", "stack.yaml")


@pytest.mark.pulumi_cli
def test_the_cli_writes_the_same_and_reads_it(file: Path, give: Give, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    for place in (folder, tmp_path / "backend"):
        place.mkdir()
    shutil.copy(PROJECT / "Pulumi.yaml", folder)
    theirs = folder / "Pulumi.dev.yaml"
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'backend'}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    def pulumi(words: Sequence[str], given: str = "") -> str:
        done = subprocess.run(
            ["pulumi", *words], cwd=folder, env=environment, input=given, check=True, capture_output=True, text=True
        )
        return done.stdout

    values = {"apiKeys.portal": "a-token\n", "apiKeys.batch": "another", "tlsCertificate.privateKey": f"{PEM}\n"}
    shutil.copy(PROJECT / "Pulumi.dev.yaml", theirs)
    pulumi(["stack", "init", "dev", "--non-interactive"])
    for key, value in values.items():
        pulumi(["config", "set", "--secret", "--path", key, "--stack", "dev"], value)
        assert give(key, value) == 0
    ours, wanted = (SEALED.sub("secure:", path.read_text()).partition(KEY)[2] for path in (file, theirs))
    assert ours == wanted
    assert read(theirs) == read(file)
    shutil.copy(file, theirs)
    for key, value in values.items():
        assert pulumi(["config", "get", "--path", key, "--stack", "dev"]).rstrip("\n") == value.rstrip("\n")
