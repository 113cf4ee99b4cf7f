"""What the providers do with property values: keep secrets out of messages and mark them where they belong."""

from __future__ import annotations

from localcloud.wire import Secret, Value, contains_secret


def secrets_in(value: Value) -> set[str]:
    """The texts and numbers that are secret, for keeping them out of messages."""
    match value:
        case Secret():
            return _texts(value.value)
        case list():
            return {text for item in value for text in secrets_in(item)}
        case dict():
            return {text for item in value.values() for text in secrets_in(item)}
        case _:
            return set()


def _texts(value: Value) -> set[str]:
    match value:
        case str() | float():
            return {str(value)} if str(value) else set()
        case list():
            return {text for item in value for text in _texts(item)}
        case dict():
            return {text for item in value.values() for text in _texts(item)}
        case Secret():
            return _texts(value.value)
        case _:
            return set()


def redacted(text: str, secrets: set[str]) -> str:
    """The text with each secret in it replaced, longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


def sealed_like(value: Value, pattern: Value) -> Value:
    """`value` with secret marks wherever `pattern`, which tells of the same property, has them."""
    match pattern, value:
        case Secret(), _:
            return Secret(value)
        case dict(), dict():
            return {name: sealed_like(item, pattern.get(name)) for name, item in value.items()}
        case list(), list() if len(pattern) == len(value):
            return [sealed_like(item, like) for item, like in zip(value, pattern, strict=True)]
        case _:
            return Secret(value) if contains_secret(pattern) else value
