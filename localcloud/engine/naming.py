"""Which resource of the last operation a goal means: by its URN, or by one of its aliases, its parents' included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from localcloud.engine import urn as urns
from localcloud.engine.errors import EngineError
from localcloud.engine.goals import Alias, Goal


@dataclass
class Names:
    """The names given in one operation."""

    project: str
    stack: str
    taken: set[str] = field(default_factory=set[str])
    _former: dict[str, str] = field(default_factory=dict[str, str])
    """URN -> the alias under which it was found."""
    _claimed: dict[str, str] = field(default_factory=dict[str, str])
    """Alias -> the URN that was found under it."""

    def take(self, goal: Goal) -> str:
        """The URN of a goal; raises EngineError when another resource of this run has it."""
        urn = urns.make(self.stack, self.project, goal.parent, goal.type, goal.name)
        if urn in self.taken:
            raise EngineError(f"Duplicate resource URN '{urn}'; try giving it a unique name")
        if urn in self._claimed:
            raise EngineError(f"Duplicate resource URN '{urn}': {self._claimed[urn]} has it as an alias")
        self.taken.add(urn)
        return urn

    def find(self, urn: str, goal: Goal, known: Mapping[str, int]) -> int | None:
        """The slot of the resource that a goal means, None when there is none. Its own URN goes before aliases."""
        if urn in known:
            return known[urn]
        for alias in dict.fromkeys(self._aliases(goal)):
            if alias not in known:
                continue
            if alias in self.taken or alias in self._claimed:
                raise EngineError(f"{urn} has the alias {alias}, which another resource of this program already is")
            self._claimed[alias] = urn
            self._former[urn] = alias
            return known[alias]
        return None

    def former(self, urn: str) -> str:
        """The name that a URN of this run had before."""
        return self._former.get(urn, urn)

    def _aliases(self, goal: Goal) -> Iterator[str]:
        own = [self._expand(alias, goal) for alias in goal.aliases]
        yield from own
        if goal.parent not in self._former:
            return
        parent = self._former[goal.parent]
        yield self._below(parent, goal.type, goal.name, goal.parent)
        for alias in own:
            yield self._below(parent, urns.type_of(alias), urns.name_of(alias), goal.parent)

    def _expand(self, alias: Alias, goal: Goal) -> str:
        if alias.urn:
            return alias.urn
        parent = self.former(alias.parent) if alias.parent else goal.parent
        return urns.make(
            alias.stack or self.stack,
            alias.project or self.project,
            "" if alias.no_parent else parent,
            alias.type or goal.type,
            alias.name or goal.name,
        )

    def _below(self, parent: str, type_: str, name: str, present_parent: str) -> str:
        """A child's name under its parent's former name; a child named after its parent follows the parent's name."""
        prefix = urns.name_of(present_parent)
        if name.startswith(prefix):
            name = urns.name_of(parent) + name.removeprefix(prefix)
        return urns.make(self.stack, self.project, parent, type_, name)
