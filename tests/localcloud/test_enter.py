"""What a command finds around it in a machine."""

from __future__ import annotations

import pytest

from localcloud.enter import command_line


@pytest.mark.parametrize(("own", "inside"), [(None, False), ("", False), ("1", True), ("yes", True)])
def test_who_wants_no_colours_has_none_in_a_machine_either(
    own: str | None, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if own is not None:
        monkeypatch.setenv("NO_COLOR", own)
    assert ("NO_COLOR=1" in command_line(7, ["hybridnet", "status"])) == inside
