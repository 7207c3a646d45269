"""JSON of the wire to and from the dataclasses of `models`: camelCase there, snake_case here."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any, TypeVar

T = TypeVar("T")

_Convert = Callable[[Any], Any]


def as_object(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one where it is none."""
    return typing.cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A JSON array; an empty one where it is none."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def camel(name: str) -> str:
    """`fencing_token` as `fencingToken`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def decode(kind: type[T], body: Any) -> T:
    """A JSON object as a dataclass. Fields that it does not know, of a later version of the service, are left out.

    Raises:
        ValueError, TypeError, KeyError: the body is not of that shape.
    """
    if not isinstance(body, dict):
        raise TypeError(f"{type(body).__name__} instead of an object")
    wire_values = as_object(body)
    prepare = getattr(kind, "prepare_wire", None)
    if prepare is not None:
        wire_values = prepare(wire_values)
    values: dict[str, Any] = {}
    for name, wire, convert, required in _plan(typing.cast("Hashable", kind)):
        value = wire_values.get(wire)
        if value is not None:
            values[name] = convert(value)
        elif required:
            raise KeyError(wire)
    return kind(**values)


def encode(item: Any) -> dict[str, Any]:
    """A dataclass as a JSON object, without the fields that are None."""
    pairs = ((field, getattr(item, field.name)) for field in dataclasses.fields(item))
    return {field.metadata.get("wire", camel(field.name)): value for field, value in pairs if value is not None}


@functools.cache
def _plan(kind: Any) -> list[tuple[str, str, _Convert, bool]]:
    hints = typing.get_type_hints(kind)
    return [
        (
            field.name,
            field.metadata.get("wire", camel(field.name)),
            _converter(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
    ]


def _converter(hint: Any) -> _Convert:
    """How a value of JSON becomes one of this type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (one,) = (argument for argument in arguments if argument is not type(None))
        return _converter(one)
    if hint is datetime:
        return datetime.fromisoformat
    if origin is tuple:
        each = _converter(arguments[0])
        return lambda values: tuple(each(value) for value in values)
    if dataclasses.is_dataclass(hint):
        return functools.partial(decode, typing.cast("type[Any]", hint))
    if hint in (int, str, bool):
        return functools.partial(_of_type, hint)
    # Words of closed sets, and JSON of others: as they come.
    return lambda value: value


def _of_type(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
