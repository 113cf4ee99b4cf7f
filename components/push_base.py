"""What all that is pushed to gateways has in common: it is compared, numbered, signed, and told to every gateway.

The engine runs the providers in a process of its own, which imports their modules by name; importing them creates
nothing. What a resource says is in its inputs, and number and digest are its outputs, so an unchanged network is an
unchanged resource. The gateways' server ids are inputs too: a gateway made anew is told everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import pulumi
from pulumi import dynamic
from pulumi.runtime import rpc

from components.control import (
    ABSENT_SECONDS,
    READ_SECONDS,
    ControlPlane,
    Held,
    Patience,
    PushError,
    Status,
    next_number,
)
from components.keys import sign, signing_public_key
from overlay.signing import Handover, handovers_body, handovers_message

Props = dict[str, Any]
_T = TypeVar("_T")
_OUTPUTS = ("number", "digest", "gateway_keys", "__provider")


@dataclass(frozen=True)
class Pushing:
    """By what gateways are known, and what they are told with.

    ``ca`` (PEM) are the authorities whose certificates they may show. ``signing_key`` (PEM) signs; with
    ``earlier_keys`` (oldest first) and the ``handovers`` from each to the next gateways come to believe it.
    """

    ca: pulumi.Input[str]
    signing_key: pulumi.Input[str]
    earlier_keys: Sequence[pulumi.Input[str]] = ()
    handovers: Sequence[Mapping[str, pulumi.Input[str]]] = ()

    def inputs(self, gateways: Mapping[str, Mapping[str, pulumi.Input[str]]]) -> Props:
        """A resource's inputs that say so; ``gateways`` gives url and serverId by name."""
        found: Props = {"gateways": gateways, "ca": self.ca, "signingKey": pulumi.Output.secret(self.signing_key)}
        if self.handovers:
            found["earlierKeys"] = pulumi.Output.secret(list(self.earlier_keys))
            found["handovers"] = list(self.handovers)
        return found


def is_known(value: object) -> bool:
    """Whether no part of an input waits for another resource."""
    if isinstance(value, Mapping):
        return all(is_known(item) for item in cast("Mapping[str, object]", value).values())
    if isinstance(value, list):
        return all(is_known(item) for item in cast("list[object]", value))
    return value != rpc.UNKNOWN


def _stored(props: Mapping[str, Any]) -> Held | None:
    if props.get("number") is None or props.get("digest") is None:
        return None
    return Held(int(props["number"]), str(props["digest"]))


def _planes(
    props: Mapping[str, Any], patience: Patience, before: Mapping[str, Mapping[str, str]] | None = None
) -> list[ControlPlane]:
    """The gateways, of which those that were told ``before`` and are the same machines have less time to answer."""
    absent = replace(patience, seconds=min(patience.seconds, ABSENT_SECONDS))
    return [
        ControlPlane(
            name,
            gateway["url"],
            props["ca"],
            absent if (before or {}).get(name, {}).get("serverId") == gateway["serverId"] else patience,
        )
        for name, gateway in sorted(props["gateways"].items())
    ]


def _of_each(
    planes: Sequence[ControlPlane], act: Callable[[ControlPlane], _T]
) -> tuple[dict[str, _T], dict[str, PushError]]:
    """What ``act`` returns of gateways, of all at the same time, by name, and the errors of those where it fails."""
    found, errors = dict[str, _T](), dict[str, PushError]()
    with ThreadPoolExecutor(max(1, len(planes))) as threads:
        running = {plane.name: threads.submit(act, plane) for plane in planes}
        for name, future in running.items():
            try:
                found[name] = future.result()
            except PushError as error:
                errors[name] = error
    return found, errors


def without_outputs(props: Mapping[str, Any]) -> Props:
    return {key: value for key, value in props.items() if key not in _OUTPUTS}


def headers(number: int, signature: str) -> dict[str, str]:
    """What goes with a pushed body."""
    return {
        "Content-Type": "application/octet-stream",
        "X-Hybridnet-Number": str(number),
        "X-Hybridnet-Signature": signature,
    }


def hand_over(plane: ControlPlane, props: Mapping[str, Any]) -> None:
    """Has a gateway believe the present signing key, if it is not the stack's first: ``PUT /v1/signing``."""
    found: Sequence[Mapping[str, str]] = props.get("handovers", ())
    if not found:
        return
    body = handovers_body([Handover(each["publicKey"], each["signature"]) for each in found])
    plane.put("/v1/signing", body, headers(len(found), sign(props["signingKey"], handovers_message(body))))


def _is_behind(status: Status, props: Mapping[str, Any]) -> bool:
    """Whether a gateway believes another signing key, or cannot tell others what leads to it: it is told all again.

    The one has an old disk, and the other has lost a file.
    """
    if status.signing is None:
        return False
    has_lost = status.handovers is not None and status.handovers < len(props.get("handovers", ()))
    return has_lost or status.signing != signing_public_key(props["signingKey"])


class PushProvider(dynamic.ResourceProvider):
    """Compares, numbers, and pushes to every gateway."""

    kind = ""

    def digest(self, props: Mapping[str, Any]) -> str:
        """The digest of the content that ``props`` describe, without its number."""
        raise NotImplementedError

    def held(self, status: Status) -> Held | None:
        """What a gateway reports of this kind."""
        raise NotImplementedError

    def used(self, status: Status) -> int:
        """The highest number that a gateway can not take again for other content; 0 for none."""
        held = self.held(status)
        return held.number if held else 0

    def send(self, plane: ControlPlane, status: Status, props: Mapping[str, Any], number: int) -> None:
        """Has a gateway, which said ``status``, hold the content under ``number``."""
        del status
        hand_over(plane, props)
        plane.put(f"/v1/{self.kind}", *self.signed(props, number))

    def signed(self, props: Mapping[str, Any], number: int) -> tuple[bytes, dict[str, str]]:
        """The content under ``number`` and the headers that go with it."""
        raise NotImplementedError

    def told(self, props: Mapping[str, Any], statuses: Mapping[str, Status]) -> Props:
        """What else of the resource's outputs gateways tell, by their statuses by name."""
        del props, statuses
        return {}

    def push(
        self,
        props: Mapping[str, Any],
        stored: Held | None,
        patience: Patience | None = None,
        before: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Props:
        """Makes every gateway hold the content; the resource's new state.

        Those that answer are told before the others are waited for. PushError names those that could not be told, once
        all others are. ``before`` are the gateways that were told the last time.
        """
        patience = patience or Patience()
        planes = _planes(props, patience, before)
        round_ = _Round(self, props, stored)
        answers, unreadable = _of_each(planes, ControlPlane.status_now)
        round_.tell(planes, {name: status for name, status in answers.items() if status is not None})
        silent = [plane for plane in planes if plane.name in answers and answers[plane.name] is None]
        if silent and len(silent) < len(planes):
            others = "not every other one was told" if unreadable or round_.errors else "the other gateways were told"
            patience.say(f"{', '.join(plane.name for plane in silent)}: no answer yet; {others}")
        late, missing = _of_each(silent, ControlPlane.status)
        round_.tell(planes, late)
        if errors := {**unreadable, **missing, **round_.errors}:
            told = "" if len(errors) == len(planes) else "\nEvery other gateway was told."
            said = dict.fromkeys(str(errors[name]) for name in sorted(errors))
            raise PushError("\n".join(said) + told)
        told = self.told(props, round_.statuses)
        return {**without_outputs(props), "number": round_.number, "digest": round_.digest, **told}

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        """Whether the inputs changed, or a refresh found a gateway that holds something else."""
        olds, news = without_outputs(_olds), without_outputs(_news)
        changed = olds != news
        if not changed and is_known(news):
            changed = _olds.get("digest") != self.digest(news)
        return dynamic.DiffResult(changes=changed, replaces=[], delete_before_replace=False)

    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(self.kind, self.push(props, None))

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(self.push(_news, _stored(_olds), before=_olds.get("gateways")))

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        """The state with what the gateways really hold and tell; one that does not answer is passed over."""
        state = {key: value for key, value in props.items() if key != "__provider"}
        patience = Patience(seconds=READ_SECONDS)
        statuses, errors = _of_each(_planes(props, patience), ControlPlane.status)
        for error in errors.values():
            patience.say(f"not compared: {error}")
        for status in statuses.values():
            held = self.held(status)
            if held is None or held.digest != props.get("digest"):
                state["digest"] = held.digest if held else ""
            elif _is_behind(status, state):
                state["digest"] = ""
        return dynamic.ReadResult(id_, {**state, **self.told(state, statuses)})

    def delete(self, _id: str, _props: Props) -> None:
        """Nothing: a gateway keeps the last it was told, and a dead one could not be asked."""


class _Round:
    """One push: which gateways answered, and under which number all of them hold the content."""

    def __init__(self, provider: PushProvider, props: Mapping[str, Any], stored: Held | None) -> None:
        self._provider, self._props, self._stored = provider, props, stored
        self.digest = provider.digest(props)
        self.statuses: dict[str, Status] = {}
        self.errors: dict[str, PushError] = {}
        """Of those that could not be told, by name."""
        self.number = 0

    def tell(self, planes: Sequence[ControlPlane], found: Mapping[str, Status]) -> None:
        """Tells those that were ``found``.

        And the others again when one holds a higher number than they were told, or other content under the same one: an
        update that failed half-way had told it that.
        """
        if not found:
            return
        used = [self._provider.used(status) for status in found.values()]
        stored = self._stored
        if self.number:
            is_taken = any(self._is_taken(status) for status in found.values())
            stored = Held(self.number, "" if is_taken else self.digest)
        number = next_number(stored, self.digest, used)
        told = {**self.statuses, **found} if number != self.number else found
        self.number, self.statuses = number, {**self.statuses, **found}
        send = self._provider.send
        to = [plane for plane in planes if plane.name in told]
        failed = _of_each(to, lambda plane: send(plane, told[plane.name], self._props, number))[1]
        self.errors = {name: error for name, error in self.errors.items() if name not in told} | failed

    def _is_taken(self, status: Status) -> bool:
        """Whether a gateway holds something else under the number that others were told."""
        held = self._provider.held(status)
        here = Held(self.number, self.digest)
        return held is not None and held != here and self._provider.used(status) == self.number


class Pushed(dynamic.Resource):
    number: pulumi.Output[int]
    """Under which the gateways hold it: above every one before."""
    digest: pulumi.Output[str]
    """SHA-256 (hex) of its content."""
