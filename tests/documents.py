"""What a document tells its readers to do: its fenced blocks, by section."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HEADING = re.compile(r"^(#+) (.+)$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language (`sh`: commands, `yaml`: an edit, `text`: what is seen) and where it stands."""

    language: str
    text: str
    headings: tuple[str, ...]
    """From the document's title down to the heading right above the block."""

    @property
    def commands(self) -> list[str]:
        """The command lines, those that go on after a backslash as one; without those that are only a comment."""
        joined = self.text.replace("\\\n", "")
        return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def blocks(document: str, section: str = "") -> list[Block]:
    """The fenced blocks of a document, of one section with all below it when it is named."""
    found: list[Block] = []
    headings: list[str] = []
    fence: list[str] | None = None
    language = indent = ""
    for line in (ROOT / document).read_text().splitlines():
        if fence is not None:
            if line == f"{indent}```":
                found.append(Block(language, "".join(f"{each}\n" for each in fence), tuple(headings)))
                fence = None
            else:
                fence.append(line.removeprefix(indent))
        elif line.lstrip().startswith("```"):
            indent, _, language = line.partition("```")
            fence = []
        elif heading := _HEADING.match(line):
            headings = [*headings[: len(heading[1]) - 1], heading[2]]
    assert fence is None, f"{document}: a block has no end"
    return [block for block in found if not section or section in block.headings]
