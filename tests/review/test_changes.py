"""The report on prepared changes of a stack, by both engines, compared with what it must say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from review.markdown import markdown
from review.preview import read
from review.report import report
from tests.review.changed_stacks import CHANGES, ChangedStack, made

EXPECTED = Path(__file__).parent / "expected"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChangedStack]:
    with made(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_reported_as_expected(change: str, stack: ChangedStack) -> None:
    assert markdown(report(read(stack.preview(change)))).strip() == (EXPECTED / f"{change}.md").read_text().strip()


@pytest.mark.pulumi_cli
def test_a_preview_by_the_cli_is_reported_alike(tmp_path: Path) -> None:
    with made(tmp_path, cli=True) as stack:
        for change in CHANGES:
            said = markdown(report(read(stack.preview(change)))).strip()
            assert said == (EXPECTED / f"{change}.md").read_text().strip(), change
