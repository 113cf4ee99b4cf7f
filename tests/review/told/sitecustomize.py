"""On the path of programs that no machine is made for: what they push to gateways counts as told."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PUSHES = "components.push_base"


class Finder(MetaPathFinder):
    """Changes the module that pushes when it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != PUSHES:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            module.PushProvider.push = told

        spec.loader.exec_module = run_and_change
        return spec


def told(self: Any, props: Mapping[str, Any], *_args: Any, **_options: Any) -> dict[str, Any]:
    """What a push answers that every gateway took."""
    said = {key: value for key, value in props.items() if key not in ("number", "digest", "gateway_keys", "__provider")}
    return {**said, "number": 1, "digest": self.digest(props), **self.told(props, {})}


sys.meta_path.insert(0, Finder())
