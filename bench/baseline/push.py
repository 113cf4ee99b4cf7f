"""A dynamic resource that takes what it is given, in place of the program's push to gateways."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource, ResourceProvider


class Pushed(Resource):
    """Something pushed, by name."""

    def __init__(self, name: str, given: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ResourceProvider(), name, dict(given), opts)
