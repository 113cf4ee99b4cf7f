"""Policy packs: what they are shown, what they stop, and what the user is told of it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.driver import PulumiCli, SmallEngine, Stack
from tests.localcloud.engine_world import Ran, World, changes, serving
from tests.localcloud.policy_packs import SIZES, judged, violations, write_pack


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        yield world


def test_a_preview_lists_everything_that_is_violated_and_fails(world: World) -> None:
    pack = write_pack(world.directory, SIZES)
    world.program('Box("small", size=3)\nBox("large", size=11)\nBox("huge", size=100)')
    ran = judged(world, "preview", pack)
    assert ran.status == 1
    assert "policy pack sizes@v1.2.3: 2 policies" in ran.text
    assert violations(ran) == [
        " mandatory  not-large  toy:index:Box huge",
        "      Boxes are small.",
        "      huge is 100",
        " mandatory  not-large  toy:index:Box large",
        "      Boxes are small.",
        "      large is 11",
        " advisory   odd-sizes  toy:index:Box huge",
        "      Sizes are odd.",
        "      an even size",
    ]
    assert " +  huge" in ran.text, "what was planned is shown all the same"
    assert "    + 4 to create" in ran.text
    assert ran.text.endswith("error: preview failed\n")
    assert not world.toy.boxes


def test_an_advice_is_no_failure(world: World) -> None:
    pack = write_pack(world.directory, SIZES)
    world.program('Box("a", size=2)')
    ran = judged(world, "up", pack)
    assert ran.status == 0
    assert violations(ran)[0] == " advisory   odd-sizes  toy:index:Box a"
    assert [box["size"] for box in world.toy.boxes.values()] == [2]


def test_up_makes_and_changes_nothing_that_violates_and_goes_on_when_mended(world: World) -> None:
    pack = write_pack(world.directory, SIZES)
    program = 'a = Box("a", size={a})\nb = Box("b", size={b}, after=a.serial)\nBox("c", size=1, after=b.serial)'
    world.program(program.format(a=1, b=11))
    ran = judged(world, "up", pack)
    assert ran.status == 1
    assert violations(ran) == [" mandatory  not-large  toy:index:Box b", "      Boxes are small.", "      b is 11"]
    assert [box["size"] for box in world.toy.boxes.values()] == [1]
    assert world.state().keys() == {"toys-dev", "a"}
    assert "create b" not in world.toy.calls

    world.program(program.format(a=1, b=5))
    ran = judged(world, "up", pack)
    assert ran.status == 0
    assert "no policy is violated" in ran.text
    assert "Policy violations" not in ran.text

    world.program(program.format(a=13, b=5))
    assert judged(world, "up", pack).status == 1
    assert sorted(box["size"] for box in world.toy.boxes.values()) == [1, 1, 5]
    assert world.engine("up").status == 0, "without the pack nobody objects"
    assert sorted(box["size"] for box in world.toy.boxes.values()) == [1, 5, 13]


def test_the_configuration_file_settles_levels_and_properties(world: World) -> None:
    pack = write_pack(world.directory, SIZES)
    file = world.directory / "policies.json"
    world.program('Box("a", size=12)')

    def with_config(document: object) -> Ran:
        file.write_text(json.dumps(document))
        return judged(world, "preview", pack, "--policy-pack-config", str(file))

    ran = with_config({"not-large": "advisory", "odd-sizes": "mandatory"})
    assert ran.status == 1
    assert [line for line in violations(ran) if line.startswith(" m")] == [" mandatory  odd-sizes  toy:index:Box a"]
    assert " advisory   not-large  toy:index:Box a" in violations(ran)
    ran = with_config({"all": "disabled", "not-large": {"enforcementLevel": "mandatory", "most": 12}})
    assert (ran.status, violations(ran)) == (0, [])
    assert "policy pack sizes@v1.2.3: 1 policy\n" in ran.text
    ran = with_config({"not-large": {"most": "twelve"}})
    assert ran.status == 1
    assert 'not-large: most must be of type integer, not "twelve"' in ran.text
    ran = with_config({"not-lagre": "disabled"})
    assert ran.status == 1
    assert "policy pack sizes has no policy not-lagre; it has not-large, odd-sizes" in ran.text


def test_several_packs_judge_together(world: World) -> None:
    sizes = write_pack(world.directory / "sizes", SIZES)
    shapes = write_pack(
        world.directory / "shapes",
        """
        def round(args, report):
            if args.props.get("shape") == "square":
                report("it has corners")
        PolicyPack("shapes", [Each("round", "Boxes are round.", round, Level.MANDATORY)])
        """,
    )
    world.program('Box("a", size=11, shape="square")')
    ran = judged(world, "preview", sizes, "--policy-pack", str(shapes))
    assert [line.split() for line in violations(ran) if line.startswith(" m")] == [
        ["mandatory", "not-large", "toy:index:Box", "a"],
        ["mandatory", "round", "toy:index:Box", "a"],
    ]


WHOLE = """
def count(args, report):
    boxes = [one for one in args.resources if one.resource_type == "toy:index:Box"]
    if len(boxes) > 1:
        report("too many")
        report("this one", urn=max(one.urn for one in boxes))
        report("nobody", urn="urn:pulumi:dev::toys::toy:index:Box::x")
PolicyPack("whole", [Whole("one-box", "One box is enough.", count, Level.MANDATORY)])
"""


def test_a_stack_is_judged_at_the_end(world: World) -> None:
    pack = write_pack(world.directory, WHOLE)
    world.program('a = Box("a")\nBox("b", other=a.serial)')
    for operation in ("preview", "up"):
        ran = judged(world, operation, pack)
        assert ran.status == 1
        assert [line for line in violations(ran) if line.startswith(" m")] == [
            " mandatory  one-box  pulumi:pulumi:Stack toys-dev",
            " mandatory  one-box  pulumi:pulumi:Stack toys-dev",
            " mandatory  one-box  toy:index:Box b",
        ]
    assert len(world.toy.boxes) == 2, "only what is made can be judged together"
    world.program('Box("a")')
    assert judged(world, "up", pack).status == 0, "what was deleted is not judged"


SEEN = """
def seen(kind, one):
    options = one.opts
    with open(os.environ["SEEN"], "a") as file:
        props = {}
        for key in one.props:
            try:
                props[key] = one.props[key]
            except Exception as error:
                props[key] = type(error).__name__
        provider = one.provider and (one.provider.urn, one.provider.resource_type)
        print(repr({
            "kind": kind, "urn": one.urn, "name": one.name, "type": one.resource_type, "props": {
                key: sorted(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
                for key, value in props.items()
            },
            "protect": options.protect, "ignored": list(options.ignore_changes), "provider": provider,
            "order": options.delete_before_replace, "secret": list(options.additional_secret_outputs),
            "create": options.custom_timeouts.create_seconds, "parent": options.parent,
            "config": dict(pulumi.Config().require_object("site")), "stack": pulumi.get_stack(),
            "project": pulumi.get_project(), "organization": pulumi.get_organization(),
            "preview": pulumi.runtime.is_dry_run(),
            **({} if kind == "each" else {
                "above": one.parent and one.parent.urn, "needs": sorted(dep.urn for dep in one.dependencies),
                "by": {key: [dep.urn for dep in deps] for key, deps in one.property_dependencies.items()},
            }),
        }), file=file)

PolicyPack("seer", [
    Each("sees-each", "Sees.", lambda args, report: seen("each", args)),
    Whole("sees-all", "Sees.", lambda args, report: [seen("all", one) for one in args.resources] and None),
])
"""

SEEN_PROGRAM = """
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

class Notes(ResourceProvider):
    def create(self, props):
        return CreateResult("notes", props)

class Net(Resource):
    pass

a = Box("a", O(protect=True), size=3, key=Output.secret("hush"))
r = Room("r")
options = O(parent=r, ignore_changes=["x"], additional_secret_outputs=["token"], delete_before_replace=True,
            custom_timeouts=pulumi.CustomTimeouts(create="90s"), depends_on=[a])
Box("b", options, note=a.serial, tree={"x": 1, "y": [a.token]}, nothing=None)
Net(Notes(), "n", {"text": "plain"})
pulumi.export("size", 4)
"""


def seen(world: World, file: Path) -> list[dict[str, object]]:
    """What the seer has noted, in an order of its own: the CLI's is none. Providers are resources for the CLI only."""
    notes = [eval(line) for line in file.read_text().splitlines()]  # the pack's own repr
    file.unlink()
    shown = [one for one in notes if not one["type"].startswith("pulumi:providers:")]
    return sorted(shown, key=lambda one: (one["kind"], one["urn"]))


def test_a_pack_sees_what_is_to_be_and_what_became_of_it(world: World, tmp_path: Path) -> None:
    pack = write_pack(world.directory, SEEN)
    world.settings("config:\n  site:\n    type: object\n    default: {port: 51820}\n")
    world.program(SEEN_PROGRAM)
    file = tmp_path / "seen"
    assert world.engine("preview", "--policy-pack", str(pack), SEEN=str(file)).status == 0
    planned = {(one["kind"], one["name"]): one for one in seen(world, file)}
    assert planned.keys() == {(kind, name) for kind in ("each", "all") for name in ("toys-dev", "a", "r", "b", "n")}
    a, b = planned["each", "a"], planned["each", "b"]
    assert a["props"] == {"size": 3.0, "key": "hush"}
    assert b["props"] == {"note": "UnknownValueError", "tree": ["x", "y"]}
    assert planned["each", "n"]["props"] == {"text": "plain"}, "the provider's code is Pulumi's own affair"
    assert (a["protect"], b["protect"]) == (True, False)
    assert (b["ignored"], b["secret"], b["order"], b["create"]) == (["x"], ["token"], True, 90.0)
    assert (a["order"], a["parent"]) == (None, "urn:pulumi:dev::toys::pulumi:pulumi:Stack::toys-dev")
    assert a["provider"] == ("urn:pulumi:dev::toys::pulumi:providers:toy::default", "pulumi:providers:toy")
    assert planned["each", "r"]["provider"] is None
    assert (a["config"], a["stack"], a["project"], a["organization"], a["preview"]) == (
        {"port": 51820}, "dev", "toys", "organization", True,
    )  # fmt: skip

    assert world.engine("up", "--policy-pack", str(pack), SEEN=str(file)).status == 0
    made = {(one["kind"], one["name"]): one for one in seen(world, file)}
    b = made["all", "b"]
    assert made["each", "b"]["props"] == {"note": "serial-1", "tree": ["x", "y"]}
    assert b["props"] == {"note": "serial-1", "tree": ["x", "y"], "serial": "serial-2", "token": "hush-token"}
    assert b["above"] == "urn:pulumi:dev::toys::house:index:Room::r"
    assert b["needs"] == ["urn:pulumi:dev::toys::toy:index:Box::a"]
    assert b["by"] == {key: ["urn:pulumi:dev::toys::toy:index:Box::a"] for key in ("note", "tree")}
    assert made["all", "toys-dev"]["props"] == {"size": 4.0}
    assert not b["preview"]


def test_what_is_not_known_yet_is_an_advice_and_no_secret_is_told(world: World) -> None:
    pack = write_pack(
        world.directory,
        """
        def blab(args, report):
            if args.name == "a":
                report(f"the key is {args.props['key']}, {args.props['tree']['deep'][0]}")
        def early(args, report):
            if args.name == "b":
                report(args.props["note"])
        def all(args, report):
            report(" ".join(one.props["token"] for one in args.resources if one.name == "a" and "token" in one.props))
        PolicyPack("curious", [Each("blab", "B.", blab), Each("early", "E.", early), Whole("all", "A.", all)])
        """.replace('Whole("all"', 'Whole("whole"'),
    )
    world.program(
        'a = Box("a", O(additional_secret_outputs=["token"]), key=Output.secret("rosebud"), '
        'tree={"deep": [Output.secret("xanadu")]})\nBox("b", note=a.serial)'
    )
    ran = judged(world, "preview", pack)
    assert ran.status == 0
    assert "string value at .note can't be known during preview" in ran.text
    ran = judged(world, "up", pack)
    assert ran.status == 0
    assert "      the key is [secret], [secret]" in violations(ran)
    assert "      [secret]" in violations(ran), "an output that is secret"
    assert "      serial-1" in violations(ran)
    for text in ("rosebud", "xanadu", "hush-token"):
        assert text not in ran.text


def test_json_has_violations_among_the_diagnostics(world: World) -> None:
    pack = write_pack(world.directory, SIZES)
    world.program('Box("a", size=12)')
    document = world.json("preview", options=("--policy-pack", str(pack)))
    told = {(one["severity"], one["message"]) for one in document["diagnostics"]}
    assert ("error", "error: [mandatory] not-large (sizes@v1.2.3): Boxes are small.\na is 12\n") in told
    assert ("warning", "warning: [advisory] odd-sizes (sizes@v1.2.3): Sizes are odd.\nan even size\n") in told
    assert changes(document)["a"] == "create"


def test_a_remediation_changes_what_is_made_and_keeps_its_secrets(world: World) -> None:
    pack = write_pack(
        world.directory,
        """
        def shrink(args):
            if args.resource_type == "toy:index:Box" and args.props.get("size", 0) > 9:
                args.props["size"] = 9
                return args.props
        def large(args, report):
            if args.props.get("size", 0) > 9:
                report("too large")
        PolicyPack("mender", [
            Each("not-large", "Boxes are small.", large, Level.REMEDIATE, remediate=shrink),
        ])
        """,
    )
    world.program('Box("a", size=11, key=Output.secret("rosebud"))')
    ran = judged(world, "up", pack)
    assert ran.status == 0, ran.text
    assert "toy:index:Box a: policy not-large remediated size" in ran.text
    assert [box["size"] for box in world.toy.boxes.values()] == [9]
    assert "rosebud" not in world.state_file.read_text()
    assert "    2 unchanged" in judged(world, "up", pack).text
    file = world.directory / "policies.json"
    file.write_text('{"not-large": "mandatory"}')
    ran = judged(world, "up", pack, "--policy-pack-config", str(file))
    assert (ran.status, violations(ran)[2]) == (1, "      too large")


def test_a_pack_runs_in_the_virtual_environment_that_it_names(world: World) -> None:
    python = world.directory / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nOWN=venv exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    source = "PolicyPack('p', [Each('e', 'E.', lambda args, report: report(os.environ['OWN']))])"
    pack = write_pack(world.directory, source, "runtime: {name: python, options: {virtualenv: ../venv}}\n")
    world.program('Box("a")')
    assert "      venv" in violations(judged(world, "preview", pack))


def stack_of(world: World, packs: list[tuple[Path, Path | None]]) -> Stack:
    environment = {**world.environment, "SEEN": str(world.directory / "seen")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return Stack(world.project, "dev", world.directory / "instance", environment, policy_packs=packs)


def test_a_driver_hands_packs_to_previews_and_updates_alone(world: World) -> None:
    world.program('Box("a", size=11)')
    file = world.directory / "policies.json"
    file.write_text('{"not-large": "advisory"}')
    pack = write_pack(world.directory, SIZES)
    strict = SmallEngine(stack_of(world, [(pack, None)]), io.StringIO())
    assert not strict.preview().succeeded
    assert not strict.up().succeeded
    assert not world.toy.boxes
    lenient = SmallEngine(stack_of(world, [(pack, file)]), io.StringIO())
    assert lenient.preview().counts == {"create": 1, "unchanged": 1}
    assert lenient.up().succeeded
    assert strict.refresh().succeeded
    assert strict.destroy().succeeded
    cli = PulumiCli(stack_of(world, [(pack, file), (pack, file)]), "pulumi")
    assert cli._command("preview").count("--policy-pack") == 2  # pyright: ignore[reportPrivateUsage]
    assert cli._command("up").count("--policy-pack-config") == 2  # pyright: ignore[reportPrivateUsage]
    assert "--policy-pack" not in cli._command("destroy")  # pyright: ignore[reportPrivateUsage]


SCENES: dict[str, tuple[str, dict[str, object], str]] = {
    "advisory": (SIZES, {}, 'Box("a", size=2)'),
    "mandatory": (SIZES, {}, 'a = Box("a", size=1)\nBox("b", size=12, after=a.serial)'),
    "settled": (SIZES, {"odd-sizes": "mandatory", "not-large": {"most": 20}}, 'Box("a", size=12)'),
    "stack": (WHOLE, {}, 'Box("a")\nBox("b")'),
    "seen": (SEEN, {}, SEEN_PROGRAM),
}
"""A pack, its configuration, a program."""


def objections(document: str) -> set[tuple[str, str, str]]:
    """Whom, how badly and in which words policies object to, as the document of a preview has it."""
    told = json.loads(document).get("diagnostics", ())
    return {(one["urn"], one["severity"], one["message"]) for one in told if ": [" in one["message"]}


@pytest.mark.pulumi_cli
@pytest.mark.parametrize("name", SCENES)
def test_both_engines_ask_alike_and_stop_alike(name: str, tmp_path: Path) -> None:
    source, config, program = SCENES[name]
    pack = write_pack(tmp_path, source)
    file = tmp_path / "policies.json"
    file.write_text(json.dumps(config))
    with serving(tmp_path / "small") as ours, serving(tmp_path / "cli") as theirs:
        for world in (ours, theirs):
            world.toy.named = True
            world.settings("config:\n  site:\n    type: object\n    default: {port: 51820}\n")
            world.program(program)
        texts = io.StringIO(), io.StringIO()
        small = SmallEngine(stack_of(ours, [(pack, file)]), texts[0])
        cli = PulumiCli(stack_of(theirs, [(pack, file)]), shutil.which("pulumi") or "pulumi", texts[1])
        planned, wanted = small.preview_document(), cli.preview_document()
        assert planned[0] == wanted[0], name
        assert objections(planned[1]) == objections(wanted[1])
        if name == "seen":
            assert seen(ours, ours.directory / "seen") == seen(theirs, theirs.directory / "seen"), "preview"
        done, wanted = small.up(), cli.up()
        assert done.succeeded == wanted.succeeded, f"{name}: {[text.getvalue() for text in texts]}"
        assert ours.toy.boxes.keys() == theirs.toy.boxes.keys()
        if name == "seen":
            assert seen(ours, ours.directory / "seen") == seen(theirs, theirs.directory / "seen"), "up"
        for policy in ("not-large", "odd-sizes", "one-box"):
            for level in ("mandatory", "advisory"):
                theirs_says = f"[{level}]  {policy}  (" in texts[1].getvalue()
                ours_says = any(line.split()[:2] == [level, policy] for line in texts[0].getvalue().splitlines())
                assert ours_says == theirs_says, f"{name}: {level} {policy}"
