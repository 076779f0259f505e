"""Laws of objects read from JSON: what a class needs must be there, of its kind, and finite."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from evals.ground.faults import DataFault, Fault, NumericalFault
from evals.ground.fields import Facts, as_json, from_json


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    share: float
    kind: Literal["a", "b"] | None = None
    tags: list[str] | None = None
    more: Facts | None = None
    inner: Inner
    facts: Facts = field(repr=False)


GOOD: dict[str, Any] = {
    "count": 3,
    "share": 1,
    "kind": "a",
    "tags": ["x"],
    "more": {},
    "inner": {"name": "n"},
    "new": 1,
}


def read(value: object) -> Outer:
    return from_json(Outer, value, where=Path("a.json"), cure="make it again", whose=" of boot")


def test_an_object_becomes_its_class_and_keeps_all_that_it_said() -> None:
    made = read(GOOD)
    assert (made.count, made.share, made.kind, made.inner.name) == (3, 1, "a", "n")
    assert made.facts is GOOD and made.facts["new"] == 1
    assert read({"count": 3, "share": 0.5, "inner": {"name": "n"}}).tags is None


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"count": None}, DataFault, "count of boot must be a whole number, got None; make it again"),
        ({"count": True}, DataFault, "a whole number, got True"),
        ({"count": 3.0}, DataFault, "a whole number, got 3.0"),
        ({"count": 10**400}, NumericalFault, "count of boot must be finite, got 1000"),
        ({"share": math.nan}, NumericalFault, "share of boot must be finite, got nan"),
        ({"share": "1"}, DataFault, "share of boot must be a finite number, got '1'"),
        ({"kind": "c"}, DataFault, "kind of boot must be one of a, b or null, got 'c'"),
        ({"tags": [1]}, DataFault, "tags of boot must be a list or null, got"),
        ({"more": []}, DataFault, "more of boot must be an object or null, got"),
        ({"more": {"deep": [1, {"er": math.inf}]}}, NumericalFault, "more.deep.1.er of boot must be finite, got inf"),
        ({"new": json.loads("[" * 60 + "]" * 60)}, DataFault, "nested at most 50 deep"),
        ({"new": -math.inf}, NumericalFault, "new of boot must be finite, got -inf"),
        ({"inner": 3}, DataFault, "inner must be an object, got 3"),
        ({"inner": {}}, DataFault, "a.json must say its inner.name, got nothing; make it again"),
        ({"inner": {"name": 1}}, DataFault, "inner.name of boot must be a text, got 1"),
    ],
)
def test_a_missing_field_or_one_of_the_wrong_type_is_refused(
    changes: dict[str, Any], kind: type[Fault], words: str
) -> None:
    with pytest.raises(kind) as fault:
        read(GOOD | changes)
    assert words in str(fault.value) and "\n" not in str(fault.value)


@pytest.mark.parametrize("name", ["count", "share", "inner"])
def test_a_field_without_default_must_be_there(name: str) -> None:
    with pytest.raises(DataFault, match=f"a.json must say its {name}, got"):
        read({key: value for key, value in GOOD.items() if key != name})


def test_no_number_that_is_not_finite_becomes_json() -> None:
    value = {"b": [1.5, None, True], "a": {"x": "text"}}
    assert json.loads(as_json(value)) == value and as_json(value).index('"b"') < as_json(value).index('"a"')
    for number in (math.nan, math.inf, 10**400):
        with pytest.raises(NumericalFault, match=r"got a\.b\.1 = "):
            as_json({"a": {"b": [0.0, number]}})
