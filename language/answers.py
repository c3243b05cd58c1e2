"""What a language model wrote, read as JSON: find it, hold it against a JSON schema, say what is wrong.

Only the part of JSON Schema that requests use is understood: ``type`` (one or several), ``properties``,
``required``, ``additionalProperties: false``, ``items``, ``enum``, ``const``, ``anyOf``, ``minItems``,
``maxItems``, ``minLength``, ``minimum`` and ``maximum``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_PROBLEMS = 12
_NEEDED = object()
_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, float) and value.is_integer())
    ),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A value read from an answer.

    ``problems`` says where it does not fit the schema; ``dropped`` says which list items were left out
    because they did not fit. ``value`` is ``None`` where no JSON was found.
    """

    value: Any
    problems: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def read_answer(text: str, schema: Mapping[str, Any], *, drop: bool = False) -> Reading:
    """Find the JSON object in a text and hold it against the schema.

    Models leave out what is empty: a missing list or nullable value is filled in, unless everything that is
    required is missing. Text around the object, code fences and a block of thinking before it are passed
    over. Keys that the schema does not know are removed where it forbids them. With ``drop``, list items that
    do not fit are left out and named in ``dropped`` instead of spoiling the whole answer.
    """
    best: Reading | None = None
    for value in _objects(text):
        reading = fit(value, schema, drop=drop)
        if not reading.problems:
            return reading
        if best is None or len(reading.problems) < len(best.problems):
            best = reading
    if best is not None:
        return best
    return Reading(None, (_why_no_object(text),))


def fit(value: Any, schema: Mapping[str, Any], *, drop: bool = False, place: str = "answer") -> Reading:
    """Hold a parsed value against a schema; see :func:`read_answer`. Problems call the value ``place``."""
    fitting = _Fitting(drop)
    fitted = fitting.value(value, schema, place)
    return Reading(fitted, tuple(fitting.problems), tuple(fitting.dropped))


def _objects(text: str) -> list[dict[str, Any]]:
    """Every outermost JSON object in the text, in order."""
    text = _THINKING.sub("", text)
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    found: list[dict[str, Any]] = []
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            found.append(value)
        position = text.find("{", end)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _why_no_object(text: str) -> str:
    stripped = text.strip()
    if not stripped:
        return "the answer is empty"
    try:
        json.loads(stripped, parse_constant=_no_constant)
    except json.JSONDecodeError as problem:
        if "{" in stripped:
            return (
                f"the answer is not valid JSON: {problem.msg} at line {problem.lineno} column {problem.colno}"
            )
        return "the answer holds no JSON object"
    except (ValueError, RecursionError) as problem:
        return f"the answer is not valid JSON: {problem}"
    return "the answer is JSON, but not an object"


class _Fitting:
    """One walk over a value and its schema that gathers what does not fit."""

    def __init__(self, drop: bool) -> None:
        self.drop = drop
        self.problems: list[str] = []
        self.dropped: list[str] = []

    def value(self, value: Any, schema: Mapping[str, Any], place: str) -> Any:
        """Fit one value; the fitted copy is returned, complaints are gathered."""
        if "anyOf" in schema:
            return self._any(value, schema["anyOf"], place)
        names = schema.get("type")
        allowed = [names] if isinstance(names, str) else list(names or ())
        if allowed and not any(_TYPES[name](value) for name in allowed):
            self._wrong(f"{place} must be {' or '.join(allowed)}, not {_short(value)}")
            return value
        self._limits(value, schema, place)
        if isinstance(value, dict) and "properties" in schema:
            return self._object(value, schema, place)
        if isinstance(value, list) and "items" in schema:
            return self._array(value, schema["items"], place)
        return value

    def _any(self, value: Any, choices: list[Mapping[str, Any]], place: str) -> Any:
        readings = [fit(value, choice, drop=self.drop, place=place) for choice in choices]
        best = min(readings, key=lambda reading: len(reading.problems))
        for problem in best.problems:
            self._wrong(problem)
        self.dropped.extend(best.dropped)
        return best.value

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], place: str) -> dict[str, Any]:
        properties = schema["properties"]
        required = schema.get("required", ())
        missing = [name for name in required if name not in value]
        if len(missing) < len(required):
            value = {**{n: e for n in missing if (e := _nothing(properties[n])) is not _NEEDED}, **value}
        for name in required:
            if name not in value:
                self._wrong(f"{place}.{name} is missing")
        fitted = {
            n: self.value(v, properties[n], f"{place}.{n}") for n, v in value.items() if n in properties
        }
        if schema.get("additionalProperties", True) is not False:
            fitted.update({n: v for n, v in value.items() if n not in properties})
        return fitted

    def _array(self, value: list[Any], schema: Mapping[str, Any], place: str) -> list[Any]:
        fitted: list[Any] = []
        for position, item in enumerate(value):
            reading = fit(item, schema, drop=self.drop, place=f"{place}[{position}]")
            if reading.problems and self.drop:
                self.dropped.extend(reading.problems)
                continue
            for problem in reading.problems:
                self._wrong(problem)
            self.dropped.extend(reading.dropped)
            fitted.append(reading.value)
        return fitted

    def _limits(self, value: Any, schema: Mapping[str, Any], place: str) -> None:
        if "enum" in schema and value not in schema["enum"]:
            choices = ", ".join(map(_short, schema["enum"][:40]))
            self._wrong(f"{place} is {_short(value)}, which is none of {choices}")
        if "const" in schema and value != schema["const"]:
            self._wrong(f"{place} must be {_short(schema['const'])}, not {_short(value)}")
        if isinstance(value, str) and len(value) < schema.get("minLength", 0):
            self._wrong(f"{place} is shorter than {schema['minLength']} characters")
        if isinstance(value, list):
            if len(value) < schema.get("minItems", 0):
                self._wrong(f"{place} has fewer than {schema['minItems']} items")
            if len(value) > schema.get("maxItems", len(value)):
                self._wrong(f"{place} has more than {schema['maxItems']} items")
        if _TYPES["number"](value):
            if value < schema.get("minimum", value):
                self._wrong(f"{place} is below {schema['minimum']}")
            if value > schema.get("maximum", value):
                self._wrong(f"{place} is above {schema['maximum']}")

    def _wrong(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def _nothing(schema: Mapping[str, Any]) -> Any:
    """What a left-out key means: no items, or null; ``_NEEDED`` where it cannot be left out."""
    names = schema.get("type")
    if names == "array" and not schema.get("minItems"):
        return []
    return None if isinstance(names, list) and "null" in names else _NEEDED


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
