"""docs/production.md, command by command in its order, on a local cloud of its own: the CLI's at the desk."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.documents import blocks
from tests.scenes.clones import Clone
from tests.test_production import DOCUMENT, NOT_RUN

pytestmark = pytest.mark.localcloud

COMMANDS = [
    command.strip()
    for block in blocks(DOCUMENT)
    if block.language == "sh"
    for command in block.commands
    if not any(re.match(why, command.strip()) for why in NOT_RUN)
]
REHEARSAL, DOWN = (f".venv/bin/python -m localcloud {words}" for words in ("preview --stack prod", "down"))


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone without a local cloud. What is up in the end is taken down."""
    clone = Clone(tmp_path_factory.mktemp("production"))
    yield clone
    clone.bash(DOWN)


def test_the_example_of_a_production_stack_can_be_rehearsed(clone: Clone) -> None:
    """Without a CLI, too; no machine is made."""
    copy, preview = COMMANDS[:2]
    assert copy.startswith("cp ")
    assert preview == REHEARSAL
    clone.bash(copy)
    said = clone.bash(preview)
    assert re.search(r"^ \+ +roster ", said, re.MULTILINE) or "hybrid-wireguard:Roster" in said
    assert "error" not in said


@pytest.mark.pulumi_cli
@pytest.mark.timeout(1800)
def test_every_command_of_the_document_does_what_it_is_for(clone: Clone) -> None:
    for command in COMMANDS:
        if command == DOWN:  # what comes after the rehearsal is done with the same machines
            continue
        if command.startswith((".venv/bin/python -m localcloud", "cp ", "mkdir ")):
            clone.bash(command)
        else:
            clone.bash(f".venv/bin/python -m localcloud run -- bash -o pipefail -c {quoted(command)}")
    clone.bash(".venv/bin/python -m localcloud up --stack prod")


def quoted(command: str) -> str:
    """A command line as one word of another one."""
    return "'" + command.replace("'", "'\\''") + "'"
