"""JSON found in what models write, and held against a schema."""

from __future__ import annotations

import time
from typing import Any

import pytest

from language.answers import MAX_PROBLEMS, fit, read_answer

NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1}',
        '  {"n": 1}\n',
        'Sure! {"n": 1} Anything else?',
        '```json\n{"n": 1}\n```',
        '<think>maybe {"n": 2}</think>{"n": 1}',
        'Not {this}, but {"n": 1}',
        '{"other": 5} and then {"n": 1}',
        '{"n": 1, "said": "of my own accord"}',
        '{"n": 1.0}',
    ],
)
def test_the_object_is_found(text: str) -> None:
    reading = read_answer(text, NUMBER)
    assert reading.value == {"n": 1}
    assert reading.problems == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("none", "no JSON object"),
        ("[1, 2]", "not an object"),
        ('{"n": 1', "not valid JSON"),
        ('{"n": NaN}', "NaN is not JSON"),
        ("{" * 5000, "not valid JSON"),
        ('{"n":' * 3000, "not valid JSON"),
        ('{"n": true}', "must be integer, not true"),
        ('{"n": -1}', "below 0"),
        ('{"n": 10}', "above 9"),
    ],
)
def test_what_does_not_fit_is_said(text: str, problem: str) -> None:
    began = time.perf_counter()
    reading = read_answer(text, NUMBER)
    assert problem in reading.problems[0]
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "string", "enum": ["A", "B"]}, "A", "C"),
        ({"const": "x"}, "x", "y"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2}, ["a"], []),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 2}, ["a", "b"], ["a", "b", "c"]),
        ({"type": "string", "minLength": 2}, "ab", "a"),
        ({"anyOf": [{"type": "integer"}, {"type": "string", "enum": ["?"]}]}, "?", "!"),
        ({"type": "boolean"}, False, 0),
        ({"type": "number"}, 1.5, "1.5"),
    ],
)
def test_each_rule_of_a_schema(schema: dict[str, Any], good: Any, bad: Any) -> None:
    assert fit(good, schema).problems == ()
    assert len(fit(bad, schema).problems) == 1


def test_what_is_empty_may_be_left_out_but_not_everything() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "aliases": {"type": "array", "items": {"type": "string"}},
            "note": {"type": ["string", "null"]},
        },
        "required": ["name", "aliases", "note"],
        "additionalProperties": False,
    }
    assert fit({"name": "x"}, schema).value == {"name": "x", "aliases": [], "note": None}
    assert fit({"note": "x"}, schema).problems == ("answer.name is missing",)
    assert len(fit({"error": "busy"}, schema).problems) == 3


def test_problems_name_their_place_and_are_bounded() -> None:
    schema = {"type": "array", "items": NUMBER}
    reading = fit([{"n": 1}, {"n": "x"}], schema)
    assert reading.problems == ('answer[1].n must be integer, not "x"',)
    assert len(fit([{}] * 100, schema).problems) == MAX_PROBLEMS


def test_dropping_leaves_out_bad_items_at_every_depth() -> None:
    inner = {"type": "array", "items": {"type": "integer"}}
    schema = {"type": "object", "properties": {"rows": {"type": "array", "items": inner}}}
    reading = fit({"rows": [[1, "x"], "y", [2]]}, schema, drop=True)
    assert reading.value == {"rows": [[1], [2]]}
    assert reading.problems == ()
    assert reading.dropped == (
        'answer.rows[0][1] must be integer, not "x"',
        'answer.rows[1] must be array, not "y"',
    )
