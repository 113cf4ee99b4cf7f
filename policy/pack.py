"""The list of the policies, and how the SDK runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from policy import budget, labelled, machines, ports, ranges, user_data
from policy.engine import keep_marks, resource_of, stack_settings
from policy.model import Finding, Resource, Rule, StackRule, link, message

NAME = "hybrid-wireguard"
RULES: tuple[Rule, ...] = (*ports.RULES, *machines.RULES, *user_data.RULES, *labelled.RULES, *ranges.RULES)
STACK_RULES: tuple[StackRule, ...] = budget.STACK_RULES


def _report(rule: str, subject: str, findings: Iterable[Finding], report: ReportViolation) -> None:
    for finding in findings:
        report(message(rule, subject, finding), None)


def _on_resources(rule: Rule, inputs: dict[str, Resource]) -> ResourceValidationPolicy:
    """The policy as the SDK takes it; it puts every resource that it is shown into ``inputs``, by URN."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        resource = inputs[args.urn] = resource_of(args)
        _report(rule.name, args.name, rule.check(resource, stack_settings()), report)

    return ResourceValidationPolicy(rule.name, rule.description, validate, url=link(rule.name))


def _on_stack(rule: StackRule, inputs: Mapping[str, Resource]) -> StackValidationPolicy:
    """The policy as the SDK takes it. Engines show the outputs of a stack's resources, and prices go by inputs."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        settings = stack_settings()
        if settings is None:
            return
        resources = [inputs.get(resource.urn) or resource_of(resource) for resource in args.resources]
        _report(rule.name, f"stack {settings.stack}", rule.check(resources, settings), report)

    return StackValidationPolicy(rule.name, rule.description, validate, url=link(rule.name))


def serve() -> None:
    """Serves the policies to the engine until it ends this process."""
    keep_marks()
    inputs: dict[str, Resource] = {}
    policies: list[Policy] = [_on_resources(rule, inputs) for rule in RULES]
    policies += [_on_stack(rule, inputs) for rule in STACK_RULES]
    PolicyPack(NAME, policies, EnforcementLevel.MANDATORY)
