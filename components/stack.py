"""What every component of the stack is made from."""

from __future__ import annotations

from dataclasses import dataclass

from components.certificates import CertificateAuthority
from components.keys import StackKeys
from components.plan import Plan, make_plan
from components.settings.models import Settings


@dataclass(frozen=True)
class Stack:
    """Settings, the plan made of them, and the keys and the authority that machines trust."""

    settings: Settings
    plan: Plan
    keys: StackKeys
    authority: CertificateAuthority


def make_stack(settings: Settings) -> Stack:
    """Registers the stack's keys and its authority."""
    return Stack(
        settings,
        make_plan(settings),
        StackKeys(
            "stack",
            ssh_public_key=settings.ssh_public_key,
            protect=settings.protect,
            signing_revision=settings.keys.signing_revision,
        ),
        CertificateAuthority(
            "authority",
            common_name=settings.prefix,
            protect=settings.protect,
            revision=settings.keys.ca_revision,
        ),
    )
