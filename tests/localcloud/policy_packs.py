"""Small policy packs for the tests of the engine."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.localcloud.engine_world import Ran, World

PRELUDE = """
import os
import sys

import pulumi
from pulumi_policy import (
    EnforcementLevel as Level,
    PolicyConfigSchema,
    PolicyPack,
    ResourceValidationPolicy as Each,
    StackValidationPolicy as Whole,
)

"""

SIZES = """
def large(args, report):
    if args.resource_type == "toy:index:Box" and args.props.get("size", 0) > args.get_config().get("most", 9):
        report(f"{args.name} is {args.props['size']:g}")

def even(args, report):
    if args.resource_type == "toy:index:Box" and args.props.get("size", 0) % 2 == 0:
        report("an even size")

PolicyPack("sizes", [
    Each("not-large", "Boxes are small.", large, Level.MANDATORY,
         PolicyConfigSchema({"most": {"type": "integer"}})),
    Each("odd-sizes", "Sizes are odd.", even, Level.ADVISORY),
])
"""
"""Mandatory: no box is larger than `most` (9). Advisory: sizes are odd."""


def write_pack(directory: Path, source: str, settings: str = "runtime: python\nversion: 1.2.3\n") -> Path:
    """A pack in a directory of its own below another; the prelude's names are there."""
    pack = directory / "pack"
    pack.mkdir(parents=True, exist_ok=True)
    (pack / "PulumiPolicy.yaml").write_text(settings)
    (pack / "__main__.py").write_text(PRELUDE + textwrap.dedent(source))
    return pack


def judged(world: World, operation: str, pack: Path, *options: str) -> Ran:
    """Runs the engine with a pack, in this process."""
    return world.engine(operation, "--policy-pack", str(pack), *options)


def violations(ran: Ran) -> list[str]:
    """The lines of the table of violations."""
    _, _, after = ran.text.partition("Policy violations:\n")
    return after.partition("error: ")[0].splitlines()
