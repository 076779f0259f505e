"""Reads several results, and says in what they are the same and in what they differ."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evals.ground.faults import DataFault
from evals.tables.bindings import CODE, value_of
from evals.tables.result import Result, read_result

NOT_ONE = "not one for all rows"
"""Stands for a fact in which the rows of a result differ, or which they lack."""


def read_results(places: Sequence[str]) -> list[Result]:
    """Reads every result; its name is the end of its place that no other shares. DataFault: one is damaged or none."""
    if len({*places}) < len(places):
        raise DataFault(f"results must be compared with others, got {', '.join(places)}; name each once")
    return [read_result(place, name) for place, name in zip(places, short_names(places), strict=True)]


def same(results: Sequence[Result]) -> list[str]:
    """Returns the names of results that hold the same scores of the same trainings as one before them."""
    found, known = [], list[Result]()
    for one in results:
        plain = replace(one, name="", pictures={}, rows=[replace(row, result="") for row in one.rows])
        found += [one.name] if plain in known else []
        known.append(plain)
    return found


def differing(results: Sequence[Result]) -> dict[str, dict[str, list[str]]]:
    """Returns {training: {key: its value in each result}} of the bindings that are not the same in all that have it.

    A training is compared where two results or more have one of its name.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for training in dict.fromkeys(name for one in results for name in one.bindings):
        of = [one.bindings.get(training) for one in results]
        there = [bindings for bindings in of if bindings is not None]
        if len(there) < 2:
            continue
        for key in dict.fromkeys(key for bindings in there for key in bindings):
            if key.startswith(CODE):
                continue
            values = ["not trained" if bindings is None else value_of(bindings, key) for bindings in of]
            if len({value for value, bindings in zip(values, of, strict=True) if bindings is not None}) > 1:
                found.setdefault(training, {})[key] = values
    return found


def differing_facts(results: Sequence[Result]) -> dict[str, list[Any]]:
    """Returns {fact: its value in each result} of the facts that a result's rows share, and in which results differ."""
    names = dict.fromkeys(name for one in results for name in one.card)
    values = {name: [one.card.get(name, NOT_ONE) for one in results] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def short_names(places: Sequence[str]) -> list[str]:
    """Returns the shortest end of each place that no other has; a revision stays with its folder."""
    parts = [place.rstrip("/").split("/") for place in places]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len({*names}) == len(names):
            return names
    return list(places)
