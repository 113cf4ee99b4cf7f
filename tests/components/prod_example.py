"""Pulumi.prod.example.yaml, with its alternatives and the defaults that it shows as comments."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, cast

import yaml

from tests.components.configs import ROOT
from tests.components.gateways import ca_pem
from tests.components.leaves import Leaf

FILE = ROOT / "Pulumi.prod.example.yaml"
TEXT = FILE.read_text()
_ALTERNATIVE = re.compile(r"(?m)^( *)#\[([a-z0-9-]+)\] (.*)$")
_DEFAULT = re.compile(r"(?m)^( *)#([^\s#!\[].*)$")
_NOT_WITH = re.compile(r"(?m)^.* # not with \[([a-z0-9-]+)\]\n")
SET = re.compile(r"pulumi config set --secret --path ([A-Za-z]+)\.([A-Za-z0-9-]+)")
"""The commands that the file shows for secrets: the key, and the name in it."""


@cache
def _leaf(kind: str, *names: str) -> Leaf:
    return Leaf(names, kind)


def alternatives() -> list[str]:
    """The names of all alternatives, in the order of the file."""
    return list(dict.fromkeys(name for _, name, _ in _ALTERNATIVE.findall(TEXT)))


def config(chosen: Collection[str] = (), *, defaults: bool = False, text: str = TEXT) -> dict[str, Any]:
    """The config by key, without the namespace, with alternatives and all defaults as if a hand had done so.

    A set secret, and what stands for a certificate, is one of the tests.
    """
    text = _NOT_WITH.sub(lambda line: "" if line[1] in chosen else line[0], text)
    text = _ALTERNATIVE.sub(lambda line: f"{line[1]}{line[3]}" if line[2] in chosen else "", text)
    if defaults:
        text = _DEFAULT.sub(r"\1\2", text)
    text = text.replace("CERTIFICATE-OF-THE-REGION", json.dumps(_leaf("RSA-2048").certificate))
    text = text.replace("CLIENTS-AUTHORITY", json.dumps(ca_pem()))
    document = cast("Mapping[str, Mapping[str, Any]]", yaml.safe_load(text))
    found = {key.removeprefix("hybrid-wireguard:"): value for key, value in document["config"].items()}
    if "own-certificate" in chosen:
        leaf = _leaf("P-256", *found["loadBalancer"]["serverNames"])
        found["tlsCertificate"] = {"certificate": leaf.certificate, "privateKey": leaf.key}
    return found
