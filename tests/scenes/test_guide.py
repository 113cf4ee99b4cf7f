"""A reader who knows only the README: every command of its guide, in order, and what it says of each.

Blocks of the section are `sh` (commands, a line each), `yaml` (an edit of `Pulumi.dev.yaml`: lines marked `# new` go in
between the others) and `text` (what the commands before it print).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.cli.mesh import run_on
from tests.documents import Block, blocks
from tests.scenes.clones import Clone

GUIDE = blocks("README.md", "Try it")
STEPS = list(dict.fromkeys(block.headings[-1] for block in GUIDE))
BORN = "cat /etc/machine-id; cut -d ' ' -f 22 /proc/1/stat"
"""Prints what becomes another text when a machine is made anew or booted again."""
_VARYING = (
    (re.compile(r"\b([a-z]+-burst)-[0-9a-f]+"), r"\1-ID"),
    (re.compile(r"\b198\.18\.\d+\.\d+(:\d+)?"), "PUBLIC"),
    (re.compile(r"\d+(?:\.\d+)? (?:ms|s|min|B|[KM]iB)(?=[ \]]|$)"), "N"),
    (re.compile(r"\[\s+N"), "[N"),
    (re.compile(r"\s+"), " "),
)
"""What is another one each time: members' names, addresses and ports on the internet, times and sizes, widths."""


def pattern(text: str) -> list[str]:
    """The lines of a text without what no two runs have in common."""
    lines = text.splitlines()
    for varying, word in _VARYING:
        lines = [varying.sub(word, line) for line in lines]
    return [line.strip() for line in lines if line.strip()]


class Reader:
    """Somebody who follows the guide in a fresh clone."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.said = ""
        """What the commands of the present step have printed."""

    def follow(self, step: str) -> None:
        """Do what the guide says in a step, and find what it shows."""
        self.said = ""
        for block in (block for block in GUIDE if block.headings[-1] == step):
            if block.language == "sh":
                self.said += "".join(map(self.clone.bash, block.commands))
            elif block.language == "yaml":
                self._edit(block)
            else:
                printed = pattern(self.said)
                assert [line for line in pattern(block.text) if line not in printed] == [], self.said

    def _edit(self, block: Block) -> None:
        """Put the lines marked as new into the stack's file, between the others as they stand there."""
        file = self.clone.path / "Pulumi.dev.yaml"
        before = "".join(line for line in block.text.splitlines(keepends=True) if not line.endswith("# new\n"))
        assert file.read_text().count(before) == 1, f"Pulumi.dev.yaml has not these lines:\n{before}"
        assert before != block.text, "no line is new"
        file.write_text(file.read_text().replace(before, block.text))

    def born(self) -> dict[str, str]:
        """By machine, what changes when it is made anew or booted again."""
        _, _, document = self.clone.bash(".venv/bin/python -m localcloud status --json").partition("{")
        machines = json.loads("{" + document)["machines"]
        names = [machine["node"] for machine in machines if machine["state"] == "running"]
        return {name: run_on(self.clone.cloud, name, "sh", "-c", BORN) or "" for name in names}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has no CLI, whose previews have other words, and has not begun. It is taken down at the end."""
    parts = [part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "pulumi").exists()]
    clone = Clone(tmp_path_factory.mktemp("guide"), os.pathsep.join(parts))
    yield Reader(clone)
    clone.bash(".venv/bin/python -m localcloud down")


def test_the_guide_has_what_a_test_can_follow() -> None:
    assert {block.language for block in GUIDE} == {"sh", "yaml", "text"}
    assert [step.partition(".")[0] for step in STEPS] == ["1", "2", "3", "4", "5", "6"]
    assert [block.headings[-1] for block in GUIDE if block.language == "yaml"] == [STEPS[2]]
    commands = [command for block in GUIDE for command in block.commands if block.language == "sh"]
    assert commands.count("make up") == 2
    assert commands.count("make preview") == commands.count("make down") == 1


@pytest.mark.localcloud
def test_a_reader_who_knows_only_the_readme(reader: Reader) -> None:
    bring_up, look, add, preview, change, bring_down = STEPS
    reader.follow(bring_up)
    everyone = {"hetzner-gw", "hetzner-1", "hetzner-2", "aws-1", "gcp-1"}
    assert everyone < set(before := reader.born())
    assert len(before) == 7, "and a machine of each pool"

    reader.follow(look)
    looked = reader.born()
    assert {name for name in before if looked[name] != before[name]} == {"hetzner-gw"}, "no spoke is touched"
    assert [name.rpartition("-")[0] for name in looked.keys() - before.keys()] == ["aws-burst"], "one more spot machine"

    reader.follow(add)
    reader.follow(preview)
    assert "replace" not in reader.said
    made = [line.split()[1] for line in reader.said.splitlines() if line.startswith(" + ")]
    assert made == ["aws-2", "aws-2-instance", "aws-2-key"], "three resources for the machine"
    assert reader.born() == looked, "nothing has been changed yet"

    reader.follow(change)
    assert re.search(r"^all 72 pairs of 9 nodes reach each other$", reader.said, re.M)
    after = reader.born()
    assert after.keys() - looked.keys() == {"aws-2"}
    assert {name: after[name] for name in looked} == looked, "no machine is replaced or rebooted"

    reader.follow(bring_down)
    assert reader.clone.left() == []
    assert reader.clone.bash("git status --porcelain") == ""
