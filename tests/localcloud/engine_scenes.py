"""Programs, one after another on the same stack, that two engines must treat alike."""

from __future__ import annotations

from collections.abc import Mapping

DYNAMIC = """
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

class Notes(ResourceProvider):
    def diff(self, id, old, new):
        return DiffResult(changes=old["nodes"] != new["nodes"], replaces=["kind"] if old["kind"] != new["kind"] else [])
    def create(self, props):
        return CreateResult("notes", {**props, "count": len(props["nodes"])})
    def update(self, id, old, new):
        return UpdateResult({**new, "count": len(new["nodes"])})

class Net(Resource):
    count: Output[int]
    def __init__(self, name, nodes, kind="a"):
        super().__init__(Notes(), name, {"nodes": nodes, "kind": kind, "count": None, "key": Output.secret("hush")})

"""

SCENES: Mapping[str, list[str]] = {
    "secrets and dependencies": [
        """
        key = Output.secret("hush")
        a = Box("a", O(additional_secret_outputs=["token"]), key=key, tree={"x": Output.secret(1), "y": 2})
        r = Room("r")
        b = Box("b", O(parent=r, depends_on=[a]), copy=a.key, note=a.token, list=[a.serial, {"deep": a.key}])
        inner = Room("inner", O(parent=r))
        Box("c", O(parent=inner, protect=False), ref=b, nothing=None, empty={}, none=[], yes=True, number=1.5)
        pulumi.export("key", a.key)
        pulumi.export("serial", b.serial)
        """,
        """
        a = Box("a", key=Output.secret("other"))
        """,
    ],
    "trigger": [
        'Box("a", size=1)',
        'Box("a", O(replacement_trigger=1), size=1)',
        'Box("a", O(replacement_trigger=1, ignore_changes=["size"]), size=2)',
        'Box("a", O(replacement_trigger=2, ignore_changes=["size"]), size=3)',
        'Box("a", O(ignore_changes=["size"]), size=4)',
        'Box("a", O(replacement_trigger={"x": [1]}), size=4)',
        'Box("a", O(replacement_trigger={"x": [2]}), size=4)',
    ],
    "nested ignores": [
        'Box("a", tree={"l": 1, "r": 1}, list=[1, 2], all={"x": {"v": 1}})',
        """
        options = O(ignore_changes=["tree.l", "list[0]", "all.*.v", "added", "gone.deep"])
        Box("a", options, tree={"l": 2, "r": 2}, list=[3, 4], all={"x": {"v": 2}}, added=1)
        """,
        'Box("a", O(ignore_changes=["*"]), tree={"l": 5}, more=1)',
    ],
    "replacements": [
        'a = Box("a", shape="round")\nb = Box("b", parent=a.serial)\nc = Box("c", note=a.serial)',
        'a = Box("a", shape="square")\nb = Box("b", parent=a.serial)\nc = Box("c", note=a.serial)',
        """
        a = Box("a", O(delete_before_replace=True), shape="flat")
        b = Box("b", parent=a.serial)
        c = Box("c", note=a.serial)
        """,
        'a = Box("a", shape="fixed")\nb = Box("b", parent=a.serial)',
        'a = Box("a", shape="fixed-2", size=1)\nb = Box("b", parent=a.serial)',
        'a = Box("a", O(replace_on_changes=["size"]), shape="fixed-2", size=2)\nb = Box("b", parent=a.serial)',
    ],
    "aliases": [
        'r = Room("old")\nBox("old-box", O(parent=r))\nBox("x")',
        """
        r = Room("new", O(aliases=[pulumi.Alias(name="old")]))
        Box("new-box", O(parent=r))
        Box("x", O(parent=r, aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)]))
        """,
        'r = Room("new")\nBox("new-box", O(parent=r))\nBox("x", O(parent=r))',
    ],
    "options": [
        """
        a = Box("a", O(protect=True))
        Box("b", O(deleted_with=a))
        Box("c", O(retain_on_delete=True))
        Box("d", O(custom_timeouts=pulumi.CustomTimeouts(create="90s")))
        """,
        'a = Box("a", O(protect=False))',
    ],
    "dynamic": [
        DYNAMIC
        + 'a = Box("a")\nn = Net("n", {"x": {"address": "1", "key": a.serial}})\npulumi.export("count", n.count)',
        DYNAMIC + 'a = Box("a")\nn = Net("n", {"x": {"address": "1", "key": a.serial}, "y": {"address": "2"}})',
        DYNAMIC + 'a = Box("a")\nn = Net("n", {"x": {"address": "1", "key": a.serial}, "y": {"address": "2"}}, "b")',
    ],
    "reads": [
        'pulumi.export("s", Box("a", O(id="other")).serial)',
        'Box("b", O(import_="other"), size=7)',
        'Box("b", O(import_="other"), size=8)',
        'Box("b", size=8)',
    ],
    "functions": [
        """
        f = pulumi.runtime.invoke("toy:index:double", {"number": 2})
        pulumi.export("f", f.value["result"])
        o = pulumi.runtime.invoke_output("toy:index:double", {"number": Box("a").serial.apply(len)})
        Box("b", size=o.apply(lambda r: r["result"]))
        """,
    ],
}
