"""What annotations of settings say in words: which values a key takes, and what holds where it is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from annotated_types import MinLen
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from components.settings.types import Range
from components.settings.words import Unset, Words, in_code, joined

REQUIRED = "required"
_Kind = TypeVar("_Kind")
_PLAIN: Mapping[object, str] = {bool: "`true` or `false`", str: "text"}


def last(metadata: Sequence[object], kind: type[_Kind]) -> _Kind | None:
    """The outermost of ``metadata`` that is a ``kind``."""
    return next((each for each in reversed(metadata) if isinstance(each, kind)), None)


def kind_of(annotation: Any, metadata: Sequence[object] = ()) -> str:
    """Which values an annotation takes; ``metadata`` is what pydantic has taken off it. TypeError without words."""
    words, bounds = last(metadata, Words), _bounds(metadata)
    if words is not None:
        return words.one
    if bounds is not None:
        return f"whole number, {bounds.low} to {bounds.high}"
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(inside[0], inside[1:])
    if origin in (Union, UnionType):
        kinds = [kind_of(each) for each in inside if each is not type(None)]
        return joined(list(dict.fromkeys(kinds)), "or")
    if origin is Literal:
        return joined([in_code(each) for each in inside], "or")
    if origin is tuple:
        return f"list of {_several(inside[0])}{', at least one' if _needs_one(metadata) else ''}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return kind_of(inside[1])
    if model_in(annotation) is not None:
        return "mapping"
    if annotation not in _PLAIN:
        raise TypeError(f"{annotation} has no words: give it some (components/settings/words.py)")
    return _PLAIN[annotation]


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The one model that an annotation stands for, perhaps beside None."""
    inside = [each for each in get_args(annotation) if each is not type(None)] or [annotation]
    if get_origin(annotation) not in (None, Union, UnionType) or len(inside) > 1:
        return None
    return inside[0] if isinstance(inside[0], type) and issubclass(inside[0], BaseModel) else None


def default_of(field: FieldInfo) -> str:
    """What holds where the key is left out."""
    unset = last(field.metadata, Unset)
    if unset is not None:
        return unset.words
    if field.is_required():
        return REQUIRED
    default = cast("object", field.get_default(call_default_factory=True))
    if default is None or default in ("", (), {}):
        return "none"
    if isinstance(default, BaseModel):
        return "each key's own"
    if isinstance(default, tuple):
        return ", ".join(map(in_code, cast("tuple[object, ...]", default)))
    return in_code(default)


def _bounds(metadata: Sequence[object]) -> Range | None:
    validator = last(metadata, BeforeValidator)
    return validator.func if validator is not None and isinstance(validator.func, Range) else None


def _several(item: Any) -> str:
    words = last(get_args(item), Words)
    if words is None or not words.several:
        raise TypeError(f"{item} has no words for several of it: give it some (components/settings/words.py)")
    return words.several


def _needs_one(metadata: Sequence[object]) -> bool:
    return last(list(_flat(metadata)), MinLen) is not None


def _flat(metadata: Sequence[object]) -> Iterator[object]:
    """``Field(…)`` inside an annotation carries its constraints itself."""
    for each in metadata:
        yield from each.metadata if isinstance(each, FieldInfo) else [each]
