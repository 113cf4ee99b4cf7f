"""Roles and instance profiles, which belong to no region."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from localcloud.provider.clouds.aws.common import ACCOUNT, INSTANCE_PROFILE, ROLE, check_tags
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Naming
from localcloud.provider.rules.aws import (
    IAM_NAME,
    PROFILE_NAME_CHARACTERS,
    ROLE_DESCRIPTION_CHARACTERS,
    ROLE_NAME_CHARACTERS,
    ROLE_SESSION_SECONDS,
    TRUST_POLICY_CHARACTERS,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_CREATED = "2026-11-01T00:00:00Z"


class _IamKind(Kind):
    """A kind whose id is its name; name and path replace it: terraform-provider-aws, internal/service/iam."""

    prefix: ClassVar[str]
    """What its unique ids begin with."""
    arn: ClassVar[str]
    """The resource type in its ARN."""
    title: ClassVar[str]
    longest: ClassVar[int]
    replace = frozenset({"name", "namePrefix", "path"})

    def check(self, check: Check) -> None:
        name, path = check.inputs.text("name"), check.inputs.text("path")
        if name is not None and not re.fullmatch(f"{IAM_NAME}{{1,{self.longest}}}", name):
            check.refuse(
                "name",
                f"ValidationError: The specified value for {self.arn}Name is invalid. It must contain only "
                f"alphanumeric characters and/or the following: +=,.@_-, at most {self.longest} of them",
            )
        if path is not None and not re.fullmatch(r"/(?:[\x21-\x7e]+/)?", path):
            check.refuse(
                "path", "ValidationError: The specified value for path is invalid. It must begin and end with /"
            )
        if name is not None and not check.same("name") and check.world.get(self.token, name):
            check.refuse("name", f"EntityAlreadyExists: {self.title} with name {name} already exists.")
        check_tags(check)

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        return inputs.text("name")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        name = inputs.text("name") or f"{inputs.text('namePrefix')}{world.next('iam name'):026d}"
        facts: dict[str, Value] = {"unique": f"{self.prefix}{world.hex_id('')[1:].upper()}"}
        return world.put(Record(self.token, name, inputs.values, facts))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        path = record.inputs.text("path") or "/"
        return {
            "arn": f"arn:aws:iam::{ACCOUNT}:{self.arn}{path}{record.id}",
            "createDate": _CREATED,
            "name": record.id,
            "tagsAll": {**record.inputs.mapping("tags")},
            "uniqueId": record.facts.text("unique"),
        }


class Role(_IamKind):
    """terraform-provider-aws, internal/service/iam/role.go."""

    token = ROLE
    prefix = "AROA"
    arn = "role"
    title = "Role"
    longest = ROLE_NAME_CHARACTERS
    naming = Naming(longest=ROLE_NAME_CHARACTERS, unless="namePrefix")
    defaults: ClassVar[Mapping[str, Value]] = {
        "forceDetachPolicies": False,
        "maxSessionDuration": ROLE_SESSION_SECONDS[0],
        "namePrefix": "",
        "path": "/",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        for name in ("inlinePolicies", "managedPolicyArns", "permissionsBoundary"):
            if inputs.given(name):
                check.refuse(name, f"the local cloud cannot honour {name}: it has no policies")
        policy = inputs.text("assumeRolePolicy")
        problem = _problem_of(policy) if policy is not None else None
        if problem is not None:
            check.refuse("assumeRolePolicy", f"MalformedPolicyDocument: {problem}")
        if len(inputs.text("description") or "") > ROLE_DESCRIPTION_CHARACTERS:
            check.refuse(
                "description",
                f"expected length of description to be in the range (0 - {ROLE_DESCRIPTION_CHARACTERS})",
            )
        seconds, (least, most) = inputs.number("maxSessionDuration"), ROLE_SESSION_SECONDS
        if seconds is not None and not least <= seconds <= most:
            check.refuse(
                "maxSessionDuration",
                f"expected max_session_duration to be in the range ({least} - {most}), got {seconds}",
            )

    def delete(self, record: Record, world: World) -> None:
        if any(profile.inputs.text("role") == record.id for profile in world.all(INSTANCE_PROFILE)):
            raise CloudError("DeleteConflict: Cannot delete entity, must remove roles from instance profile first.")
        super().delete(record, world)


class InstanceProfile(_IamKind):
    """terraform-provider-aws, internal/service/iam/instance_profile.go."""

    token = INSTANCE_PROFILE
    prefix = "AIPA"
    arn = "instance-profile"
    title = "Instance Profile"
    longest = PROFILE_NAME_CHARACTERS
    naming = Naming(longest=PROFILE_NAME_CHARACTERS, unless="namePrefix")
    defaults: ClassVar[Mapping[str, Value]] = {"namePrefix": "", "path": "/"}

    def check(self, check: Check) -> None:
        super().check(check)
        role = check.inputs.text("role")
        if role is not None and check.world.get(ROLE, role) is None and (ROLE, role) not in check.planned:
            check.refuse("role", f"NoSuchEntity: The role with name {role} cannot be found.")


def _problem_of(policy: str) -> str | None:
    """What is wrong with a trust policy, or None."""
    if len(policy) > TRUST_POLICY_CHARACTERS:
        return f"Cannot exceed quota for ACLSizePerRole: {TRUST_POLICY_CHARACTERS}"
    try:
        document: object = json.loads(policy)
    except ValueError:
        return "This policy contains invalid Json"
    if not isinstance(document, dict):
        return "Syntax errors in policy."
    found = cast("dict[str, Any]", document)
    statements: Any = found.get("Statement")
    listed = cast("list[Any]", statements if isinstance(statements, list) else [statements])
    if found.get("Version") not in ("2012-10-17", "2008-10-17", None) or not listed:
        return "Syntax errors in policy."
    for statement in listed:
        if not isinstance(statement, dict) or {"Effect", "Action"} - statement.keys():
            return "Missing required field Action or Effect"
        if "Principal" not in statement:
            return "Missing required field Principal"
        if "Resource" in statement:
            return "Has prohibited field Resource"
    return None


KINDS: tuple[Kind, ...] = (Role(), InstanceProfile())
