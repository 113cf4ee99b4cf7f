"""From what Pulumi hands over to :class:`Settings`, or to everything that is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast, get_args

import pulumi
import pulumi.runtime.config
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from components.settings.checks import setting_problems
from components.settings.errors import NAMESPACE, SECRET, SettingsError, nearest, shown
from components.settings.machines import GatewaySettings, PoolSettings, SpokeSettings
from components.settings.models import Settings, StackConfig
from components.settings.serving import TlsCertificate
from components.settings.sites import AwsSite, ExternalSite, GcpSite, HetznerSite, SiteSettings
from overlay.checks import Problem
from overlay.model import EXTERNAL

_Model = TypeVar("_Model", bound=BaseModel)
_SECRETS: Mapping[str, str] = {
    "privateKeys": "pulumi config set --secret --path privateKeys.NODE < FILE",
    "tlsCertificate": "pulumi config set --secret --path tlsCertificate.privateKey < key.pem",
    "apiKeys": "pulumi config set --secret --path apiKeys.NAME < FILE",
}
"""Objects of texts that are secrets, and how to set one."""
_TEXTS = ("prefix", "sshPublicKey")
KEYS = tuple(field.alias or name for name, field in StackConfig.model_fields.items())
_SITES: Mapping[str, type[SiteSettings]] = {
    "hetzner": HetznerSite,
    "aws": AwsSite,
    "gcp": GcpSite,
    EXTERNAL: ExternalSite,
}

_WANTED = {
    "string_type": ("a text is needed", "put it in quotes if it looks like a number"),
    "string_too_short": ("it is empty", "leave the key out or give it a value"),
    "string_too_long": ("it is longer than 255 characters", "shorten it"),
    "string_pattern_mismatch": ("it holds a space", "write it without spaces"),
    "int_type": ("a whole number is needed", "write it without quotes"),
    "bool_type": ("true or false is needed", "write true or false without quotes"),
    "tuple_type": ("a list is needed", "write it as a YAML list, or in JSON as [..]"),
    "dict_type": ("a mapping is needed", "write it as key: value pairs"),
    "model_type": ("a mapping is needed", "write it as key: value pairs"),
    "too_short": ("it is empty", "name at least one"),
    "greater_than_equal": ("it is too small", "use 1 or more"),
    "less_than_equal": ("it is too large", "count up from the one before"),
    "missing": ("it is required", "add it"),
}
"""Reason and remedy by pydantic's error type."""


def read() -> Settings:
    """The settings of the running stack; pulumi.RunError, whose text names every problem, when they are wrong."""
    config: dict[str, Any] = {**pulumi.runtime.config.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    ours = {key.partition(":")[2]: value for key, value in config.items() if key.startswith(f"{NAMESPACE}:")}
    secret = {key for key in ours if pulumi.runtime.config.is_config_secret(f"{NAMESPACE}:{key}")}
    try:
        return load(ours, pulumi.get_project(), pulumi.get_stack(), secret)
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None


def load(config: Mapping[str, str], project: str, stack: str, secret_keys: Collection[str]) -> Settings:
    """The settings from config as the engine gives it: texts by key, objects and lists as JSON.

    ``secret_keys`` are the keys whose values are encrypted in the stack's file; none of those is ever shown.
    SettingsError with everything that is wrong; the network is checked once the shapes are right.
    """
    found: list[Problem] = []
    for key in sorted(config.keys() - set(KEYS)):
        found.append(Problem(key, shown(config[key]), "no such setting", nearest(key, KEYS)))
    values = {key: _decoded(key, config[key]) for key in KEYS if key in config}
    keys = _secret_texts("privateKeys", values, secret_keys, found)
    tls_certificate = _tls_certificate(_secret_texts("tlsCertificate", values, secret_keys, found), found)
    api_keys = _secret_texts("apiKeys", values, secret_keys, found)
    sites = {
        name: site
        for name, value in _mapping("sites", values.pop("sites", {}), found).items()
        if (site := _site(name, value, found)) is not None
    }
    gateways = _machines("gateways", GatewaySettings, values.pop("gateways", {}), found)
    spokes = _machines("spokes", SpokeSettings, values.pop("spokes", {}), found)
    pools = _machines("pools", PoolSettings, values.pop("pools", {}), found)
    general = _validated(StackConfig, "", {key: value for key, value in values.items() if value != ""}, found)
    if found or general is None:
        raise SettingsError(_without_secrets(found, secret_keys))
    settings = Settings(
        project=project,
        stack=stack,
        prefix=general.prefix or f"{project}-{stack}",
        overlay=general.network.overlay,
        topology=general.network.topology,
        overlay6=general.network.overlay6,
        domain=general.network.domain,
        groups=dict(sorted(general.groups.items())),
        sites=sites,
        gateways=gateways,
        spokes=spokes,
        pools=pools,
        admin_cidrs=general.admin_cidrs,
        wireguard_sources=general.wireguard_sources,
        revoked_keys=general.revoked_keys,
        keep_retired_server_types=general.keep_retired_server_types,
        ssh_public_key=general.ssh_public_key,
        protect=general.protect,
        production=general.production,
        monthly_budget=general.monthly_budget or None,
        keys=general.keys,
        load_balancer=general.load_balancer,
        private_keys=keys,
        tls_certificate=tls_certificate,
        api_keys=api_keys,
    )
    found = setting_problems(settings)
    if found:
        raise SettingsError(_without_secrets(found, secret_keys))
    return settings


def _without_secrets(found: list[Problem], secret_keys: Collection[str]) -> list[Problem]:
    return [
        replace(problem, value=SECRET) if re.split(r"[.\[]", problem.subject)[0] in secret_keys else problem
        for problem in found
    ]


def _decoded(key: str, text: object) -> object:
    """A setting's value: JSON for objects, lists, flags and numbers, the text itself for texts."""
    if key in _TEXTS or not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _mapping(key: str, value: object, found: list[Problem]) -> dict[str, object]:
    """A mapping in the order of its keys, since what engines hand over is in no order to rely on."""
    if isinstance(value, dict):
        return dict(sorted(cast("dict[str, object]", value).items()))
    reason, remedy = _WANTED["model_type"]
    found.append(Problem(key, SECRET if key in _SECRETS else shown(value), reason, remedy))
    return {}


def _secret_texts(
    key: str, values: dict[str, object], secret_keys: Collection[str], found: list[Problem]
) -> dict[str, str]:
    """The texts by name of one of ``_SECRETS``, taken out of ``values``."""
    texts: dict[str, str] = {}
    for name, text in _mapping(key, values.pop(key, {}), found).items():
        if isinstance(text, str):
            texts[name] = text
        else:
            reason, remedy = _WANTED["string_type"]
            found.append(Problem(f"{key}.{name}", SECRET, reason, remedy))
    if texts and key not in secret_keys:
        found.append(Problem(key, SECRET, "it stands in plain text in the stack's file", _SECRETS[key]))
    return texts


def _tls_certificate(texts: Mapping[str, str], found: list[Problem]) -> TlsCertificate | None:
    known = _known_keys(TlsCertificate, ("",))
    if not texts:
        return None
    for name in sorted(texts.keys() - set(known)):
        found.append(Problem(f"tlsCertificate.{name}", SECRET, "no such key", nearest(name, known)))
    missing = [name for name in known if name not in texts]
    for name in missing:
        found.append(Problem(f"tlsCertificate.{name}", "nothing", *_WANTED["missing"]))
    return None if missing else TlsCertificate.model_validate({name: texts[name] for name in known})


def _site(name: str, value: object, found: list[Problem]) -> SiteSettings | None:
    before = len(found)
    fields = _mapping(f"sites.{name}", value, found)
    if len(found) > before:
        return None
    cloud = fields.get("cloud")
    model = _SITES.get(cloud) if isinstance(cloud, str) else None
    if model is None:
        given = "cloud" in fields
        reason = "no such cloud" if given else "it is required"
        value = shown(cloud) if given else "nothing"
        found.append(Problem(f"sites.{name}.cloud", value, reason, nearest(str(cloud), _SITES)))
        return None
    return _validated(model, f"sites.{name}", fields, found)


def _machines(kind: str, model: type[_Model], value: object, found: list[Problem]) -> dict[str, _Model]:
    return {
        name: machine
        for name, fields in _mapping(kind, value, found).items()
        if (machine := _validated(model, f"{kind}.{name}", fields, found)) is not None
    }


def _validated(model: type[_Model], path: str, value: object, found: list[Problem]) -> _Model | None:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found += [_told(model, path, detail) for detail in error.errors(include_url=False)]
        return None


def _told(model: type[BaseModel], path: str, detail: ErrorDetails) -> Problem:
    """One of pydantic's errors in the words of the settings."""
    where = path
    for part in detail["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else part
    context = detail.get("ctx", {})
    kind = detail["type"]
    value = "nothing" if kind == "missing" else shown(detail["input"])
    if kind == "refused":
        return Problem(where, value, context["reason"], context["remedy"])
    if kind == "extra_forbidden":
        return Problem(where, value, "no such key", nearest(str(detail["loc"][-1]), _known_keys(model, detail["loc"])))
    reason, remedy = _WANTED.get(kind, (detail["msg"].removeprefix("Input "), "see docs/settings.md"))
    return Problem(where, value, reason, remedy)


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that stand where the unknown key at ``location`` does."""
    for part in location[:-1]:
        field = next((f for f in model.model_fields.values() if f.alias == part), None)
        # Of a mapping by name the field says what its values are, and the name is no field.
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items()]
