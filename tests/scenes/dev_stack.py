"""Which scenes are on the dev stack that they share."""

from __future__ import annotations

from pathlib import PurePath

SCENES = frozenset(
    f"test_{name}.py"
    for name in (
        "change", "network", "pool_crash", "pools", "protocol", "refusals", "release", "secrets", "traffic",
    )
)  # fmt: skip
"""They run one after the other by the same worker, so that the stack is made once, and is gone after the last one.
A file that asks for the fixture `scene` of this folder and is not among them finds a stack that may be gone."""


def is_on_it(path: PurePath) -> bool:
    """Whether that file's scenes are on the shared dev stack."""
    return path.parent.name == "scenes" and path.name in SCENES
