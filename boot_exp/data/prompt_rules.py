"""Rules by which prompts are changed or left out, applied in the order of the configuration, and the part held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

import numpy as np

from boot_exp.config.components import Count, Share, component
from boot_exp.data.prompt_files import Rows
from evals.ground.faults import DataFault


class Rule(Protocol):
    """Changes prompts or leaves some out, and keeps their order. Its repr is on the card."""

    @property
    def numbers(self) -> Sequence[str]:
        """Returns the columns of numbers that it reads."""

    def __call__(self, rows: Rows) -> Rows: ...


class _OfTexts:
    """A rule that reads the prompts alone."""

    @property
    def numbers(self) -> tuple[str, ...]:
        return ()


@component
class WhitespaceNormalised(_OfTexts):
    """Makes one space of each run of white space, line ends among them, and takes it off both ends."""

    def __call__(self, rows: Rows) -> Rows:
        return replace(rows, texts=[" ".join(text.split()) for text in rows.texts])


@component
class EmptyOut(_OfTexts):
    """Leaves out prompts that hold nothing but white space, and rows that were null."""

    def __call__(self, rows: Rows) -> Rows:
        return rows.only([bool(text.strip()) for text in rows.texts])


@component
class Longest(_OfTexts):
    """Leaves out prompts of more characters than these."""

    characters: Count

    def __call__(self, rows: Rows) -> Rows:
        return rows.only([len(text) <= self.characters for text in rows.texts])


@component
class NsfwOut:
    """Leaves out prompts whose score in a column is more than a threshold; DiffusionDB's prompt_nsfw is in [0, 1]."""

    most: Share
    column: str = "prompt_nsfw"

    @property
    def numbers(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, rows: Rows) -> Rows:
        return rows.only(rows.numbers[self.column] <= self.most)


@component
class DuplicatesOut(_OfTexts):
    """Keeps the first of prompts that differ in case alone."""

    def __call__(self, rows: Rows) -> Rows:
        seen: set[str] = set()
        keep = []
        for text in rows.texts:
            folded = text.casefold()
            keep.append(folded not in seen)
            seen.add(folded)
        return rows.only(keep)


@component
class First(_OfTexts):
    """Keeps the first n prompts."""

    n: Count

    def __call__(self, rows: Rows) -> Rows:
        return rows.only(np.arange(len(rows.texts)) < self.n)


def ruled(rows: Rows, rules: Sequence[Rule], source: str) -> tuple[Rows, dict[str, int]]:
    """Applies the rules in their order; returns the prompts that are left, and how many each rule took.

    DataFault: no prompt is left; a prompt that is left is empty or holds the end of a line.
    """
    taken: dict[str, int] = {}
    for number, rule in enumerate(rules, 1):
        left = rule(rows)
        taken[f"{number}. {rule}"] = len(rows.texts) - len(left.texts)
        if not left.texts:
            raise DataFault(
                f"rules must leave some prompts of {source}, got none: {rule} took the last {len(rows.texts):,}; bind "
                "it otherwise, or take it out"
            )
        rows = left
    for index, text in enumerate(rows.texts):
        if not text.strip():
            nulls = f", and {rows.nulls:,} rows are null" if rows.nulls else ""
            raise DataFault(
                f"{source} must hold no empty prompt, got one in row {rows.places[index]}{nulls}; bind the rule "
                "EmptyOut"
            )
        if text.splitlines() != [text]:
            raise DataFault(
                f"{source} must hold prompts of one line, got the end of a line within row {rows.places[index]}; bind "
                "the rule WhitespaceNormalised"
            )
    return rows, taken


def is_held_out(text: str, share: float) -> bool:
    """Returns whether a prompt is held out, which its hash alone decides: the same in any file and any order."""
    drawn = int.from_bytes(sha256(text.casefold().encode()).digest()[:8], "big")
    return drawn < share * 2.0**64


def parts(rows: Rows, share: float, source: str) -> tuple[list[str], list[str]]:
    """Returns the prompts to train on and those held out. DataFault: either part is empty."""
    held = [is_held_out(text, share) for text in rows.texts]
    training = [text for text, out in zip(rows.texts, held, strict=True) if not out]
    evaluation = [text for text, out in zip(rows.texts, held, strict=True) if out]
    if not training or not evaluation:
        raise DataFault(
            f"prompts must be left to train on and to evaluate with, got {len(training):,} and {len(evaluation):,} of "
            f"{source} at held_out = {share}; bind another share, or give more prompts"
        )
    return training, evaluation
