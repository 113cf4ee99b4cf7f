"""What documents refer to is there: other documents and their sections, and the tests that show what is claimed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks
from tests.test_house import MAY_IMPORT, ROOMS, imported, tracked

DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and GitLab make them."""
    text = _FENCED.sub("", (ROOT / document).read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_to_what_is_there(document: Path) -> None:
    lost: list[str] = []
    for link in _LINK.findall(_FENCED.sub("", (ROOT / document).read_text())):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (ROOT / document.parent / path).resolve() if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_the_threat_model_names_tests_that_there_are() -> None:
    named = _TEST.findall((ROOT / "docs/threat-model.md").read_text())
    assert named
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []


def test_the_arrows_of_the_architecture_are_the_imports_that_there_may_be() -> None:
    (diagram,) = blocks("docs/architecture.md", "What imports what")
    drawn = set(re.findall(r"^ +(\w+)(?:\[.*\])? --> (\w+)$", diagram.text, re.MULTILINE))
    allowed = {
        (room.rpartition("/")[2], other) for room, others in MAY_IMPORT.items() for other in others if other != room
    }
    program = {("program", package) for _, package in imported(Path("__main__.py")) if package in ROOMS}
    assert drawn == allowed | program
