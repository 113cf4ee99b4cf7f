"""How the SDK hands over resources, settings and secrets.

The engine starts a Python pack in the pack's own directory with the stack's config, secrets opened, in PULUMI_CONFIG,
and does not say which of it is secret (pulumi-language-python, ``RunPlugin``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

import pulumi.runtime
import pulumi_policy.policy as sdk
from pulumi_policy import ResourceValidationArgs
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY
from pulumi_policy.policy import PolicyResource
from pulumi_policy.proxy import (
    UNKNOWN_ARCHIVE_VALUE,
    UNKNOWN_ARRAY_VALUE,
    UNKNOWN_ASSET_VALUE,
    UNKNOWN_BOOLEAN_VALUE,
    UNKNOWN_NUMBER_VALUE,
    UNKNOWN_OBJECT_VALUE,
    UNKNOWN_STRING_VALUE,
)

from components.settings.errors import NAMESPACE, SettingsError
from components.settings.load import load
from components.settings.models import Settings
from policy.model import UNKNOWN, Resource

_UNKNOWN = {
    UNKNOWN_ARCHIVE_VALUE,
    UNKNOWN_ARRAY_VALUE,
    UNKNOWN_ASSET_VALUE,
    UNKNOWN_BOOLEAN_VALUE,
    UNKNOWN_NUMBER_VALUE,
    UNKNOWN_OBJECT_VALUE,
    UNKNOWN_STRING_VALUE,
}


class Wire(Mapping[str, Any]):
    """A resource's properties as the engine sent them, marks of secrets and unknown values still on them."""

    def __init__(self, properties: Mapping[str, Any], proxy_secrets: bool = False) -> None:
        """Takes the place of the SDK's ``deserialize_properties``, with its signature."""
        del proxy_secrets
        self._properties = properties

    def __getitem__(self, key: str) -> Any:
        return self._properties[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._properties)

    def __len__(self) -> int:
        return len(self._properties)


def keep_marks() -> None:
    """Has the SDK hand over properties as :class:`Wire`.

    Its own reading (pulumi-policy 1.21.0) drops the marks of secrets, so that no policy could tell a secret from a
    plain text, and raises at the first unknown value, which ends the policy.
    """
    cast("Any", sdk).deserialize_properties = Wire


def read_value(value: Any, *, hide_secrets: bool) -> Any:
    """A value off the wire: UNKNOWN for what is not known, or is secret and to be hidden."""
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        if found.get(SPECIAL_SIG_KEY) == SPECIAL_SECRET_SIG:
            return UNKNOWN if hide_secrets else read_value(found.get("value"), hide_secrets=hide_secrets)
        return {key: read_value(item, hide_secrets=hide_secrets) for key, item in found.items()}
    if isinstance(value, list):
        return [read_value(item, hide_secrets=hide_secrets) for item in cast("list[Any]", value)]
    return UNKNOWN if isinstance(value, str) and value in _UNKNOWN else value


def resource_of(args: ResourceValidationArgs | PolicyResource) -> Resource:
    """A resource as the policies see it. TypeError when the SDK did not leave the marks on."""
    properties: Any = args.props
    if not isinstance(properties, Wire):
        raise TypeError("this SDK reads properties in another way: policy/engine.py must learn it")
    wire = dict(properties)
    return Resource(
        type=args.resource_type,
        name=args.name,
        inputs=read_value(wire, hide_secrets=False),
        shown=read_value(wire, hide_secrets=True),
        protect=bool(args.opts.protect),
    )


@cache
def stack_settings() -> Settings | None:
    """The stack's settings; None where there are none, or the program has refused them already."""
    config: Mapping[str, Any] = pulumi.runtime.get_config_env()
    ours = {key.partition(":")[2]: value for key, value in config.items() if key.startswith(f"{NAMESPACE}:")}
    if not ours:
        return None
    try:
        # Nothing says here which of it is secret, and the program has refused what must be and is not.
        return load(ours, os.environ.get("PULUMI_PROJECT", NAMESPACE), os.environ.get("PULUMI_STACK", ""), set(ours))
    except SettingsError:
        return None
