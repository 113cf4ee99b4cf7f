"""The rules that no linter knows: which way imports point, what machines can parse, what no file may hold."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "overlay",
    "components",
    "cloudinit",
    "node",
    "localcloud",
    "clients",
    "monitoring",
    "policy",
    "review",
    "bench",
    "tests",
    "examples",
)

MAY_IMPORT = {
    "overlay": {"overlay"},
    "cloudinit": {"cloudinit", "overlay"},
    "node": {"node", "overlay"},
    "components": {"components", "cloudinit", "overlay"},
    "localcloud": {"localcloud", "overlay"},
    "clients": {"clients"},
    "monitoring": {"monitoring", "components", "overlay"},
    "policy": {"policy", "review", "components", "overlay"},
    "review": {"review"},
    "examples/inference": set[str](),
    "examples/consumer": {"monitoring", "components"},
}
"""Room -> the rooms of ours it may import. `bench` and `tests` may import any."""

FROM_DISTRIBUTION = {"aiohttp", "cryptography", "jwt", "prometheus_client", "yarl"}
"""What machines have besides the standard library; yarl is what aiohttp takes for URLs, and comes with it."""

MAX_LINES = 400
PARSED_BY_MACHINES = ("overlay", "node", "examples/inference")

REGISTRY_HOSTS = re.compile(
    r"(?i)\b(?:(?:test\.)?pypi\.org|files\.pythonhosted\.org|(?:deb|security|ftp)\.debian\.org|snapshot\.debian\.org"
    r"|(?:archive|security|ports)\.ubuntu\.com|registry\.npmjs\.org|(?:index\.|static\.)?crates\.io|proxy\.golang\.org"
    r"|repo1?\.maven\.(?:org|apache\.org))\b"
)
TYPED_SECRETS = re.compile(
    r"config set (?:--[\w-]+ )*--secret (?:--[\w-]+ )*[\w<][\w.:<>-]* [\w$\"']|export \w*(?:TOKEN|SECRET|PASSPHRASE)=\S"
)
"""Commands with a secret among their words, which a shell's history keeps and `ps` shows to everybody."""
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|farm|opt/wheels|home/[a-z]\w*|root/\.\w+|Users/\w+)\b")


def tracked() -> list[Path]:
    """Every file that belongs to the project: what git tracks or would add, as paths from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted({Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()})


def sources(room: str) -> list[Path]:
    return [path for path in tracked() if path.is_relative_to(room) and path.suffix == ".py"]


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that is a text, with it."""
    for path in tracked():
        try:
            yield path, (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of each import in a file, those inside functions too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or "").partition(".")[0]


def program_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_point_one_way(room: str) -> None:
    wrong = [
        f"{path}:{line} imports {package}"
        for path in sources(room)
        for line, package in imported(path)
        if package in set(ROOMS) - MAY_IMPORT[room]
    ]
    assert not wrong, f"{room} may import only {sorted(MAY_IMPORT[room])} of ours"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("README.md", r"localcloud .* > (\S+)$"),
        ("localcloud/cli/parser.py", r"localcloud outputs --write (\S+)"),
        ("clients/__main__.py", r"clients \S+ --write (\S+)"),
        ("docs/exports.md", r"clients \S+ --write (\S+)"),
        ("docs/production.md", r"stack export .*--file (\S+)$"),
        ("docs/monitoring.md", r" >(\S+)$"),
        ("monitoring/__main__.py", r" >(\S+)(?:\s|$)"),
        ("docs/topologies.md", r"--write (\S+?)`?(?:\s|$)"),
    ],
)
def test_what_documented_commands_write_does_not_come_into_the_project(text: str, command: str) -> None:
    written = re.findall(command, (ROOT / text).read_text(), re.MULTILINE)
    assert written
    for name in written:
        path = f"{name}/file" if "." not in name else name
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0, name


def test_the_program_knows_no_local_cloud() -> None:
    wrong = [
        f"{path}:{number}"
        for path in [Path("__main__.py"), *sources("components"), *sources("cloudinit"), *sources("node")]
        if (ROOT / path).exists()
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if re.search(r"(?i)\blocal_?cloud\b", line)
    ]
    assert not wrong, "only the engine's provider plugins tell a local cloud from a real one"


def test_overlay_imports_only_the_standard_library() -> None:
    wrong = [
        f"{path}:{line} imports {package}"
        for path in sources("overlay")
        for line, package in imported(path)
        if package != "overlay" and package not in sys.stdlib_module_names
    ]
    assert sources("overlay")
    assert not wrong


def test_node_imports_only_what_its_distribution_packages() -> None:
    wrong = [
        f"{path}:{line} imports {package}"
        for path in sources("node")
        for line, package in imported(path)
        if package not in {"node", "overlay"} | FROM_DISTRIBUTION | sys.stdlib_module_names
    ]
    assert not wrong


@pytest.mark.parametrize("room", PARSED_BY_MACHINES)
def test_files_of_the_machines_parse_as_python_3_10(room: str) -> None:
    for path in sources(room):
        ast.parse((ROOT / path).read_text(), filename=str(path), feature_version=(3, 10))


def test_no_file_is_long() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in program_files()}
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES}


@pytest.mark.parametrize("pattern", [REGISTRY_HOSTS, MACHINE_PATHS], ids=["registry hosts", "machine paths"])
def test_no_file_names_one_place(pattern: re.Pattern[str]) -> None:
    wrong = [
        f"{path}:{number}: {match.group()}"
        for path, text in texts()
        if path != Path("tests/test_house.py")
        for number, line in enumerate(text.splitlines(), 1)
        for match in pattern.finditer(line)
    ]
    assert not wrong, "the project builds from whatever index and apt source its host is set up with"


def test_no_command_that_is_shown_has_a_secret_among_its_words() -> None:
    shown = [(path, text) for path, text in texts() if path.parts[0] != "tests"]
    assert not [f"{path}: {match.group()}" for path, text in shown for match in TYPED_SECRETS.finditer(text)]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck, which `make test` installs as root")
def test_every_shell_script_is_clean() -> None:
    scripts = [path for path, text in texts() if path.suffix == ".sh" or re.match(r"#!.*\bb?a?sh\b", text)]
    assert len(scripts) > 1
    checked = subprocess.run(["shellcheck", *map(str, scripts)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_every_test_file_is_collected() -> None:
    """A file that pytest's pattern does not match would never run."""
    helpers = {"conftest.py", "__init__.py"}
    lost = [
        path
        for path in sources("tests")
        if path.name not in helpers
        and not path.name.startswith("test_")
        and re.search(r"^(?:async )?def test_", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert not lost


def test_requirements_are_pinned_by_hash_and_name_no_index() -> None:
    for name in (
        "requirements.txt",
        "requirements-actionlint.txt",
        "requirements-cloudflare.txt",
        "requirements-dev.txt",
        "requirements-policy.txt",
        "requirements-skypilot.txt",
    ):
        lines = (ROOT / name).read_text().splitlines()
        pins = [line for line in lines if line and line[0] not in " #-"]
        assert pins
        assert not [pin for pin in pins if not re.fullmatch(r"[\w.-]+==\S+ \\", pin)], f"{name}: not one exact version"
        assert not [line for line in lines if line.startswith("-") and not line.startswith("-c ")], f"{name}: an index"
        assert sum("--hash=sha256:" in line for line in lines) >= len(pins)
