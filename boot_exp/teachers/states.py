"""Finds the network among a file's tensors; files also hold optimizers, averages and wrappers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from boot_exp.teachers import PublishedNetwork, check_finite, fitting, shown
from evals.features.pickles import foreign
from evals.features.stored import Kept, made, outlines
from evals.ground.faults import StateFault

AVERAGES = {"ema", "average", "averaged", "avg", "shadow", "swa"}
"""Words in the name of what holds averaged weights, which are those to sample with."""
Named = Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]]


def fill(
    teacher: PublishedNetwork, path: Path, found: Mapping[str, Kept], named: Named, called: Mapping[str, str]
) -> dict[str, Tensor]:
    """Fills a teacher's network with tensors of a file, which are created after their shapes are compared.

    named: tensors by our names, and those left over; called: the file's names of ours. StateFault: it is another
    network, or its weights are not finite.
    """
    with foreign(path, "must hold whole tensors", "fetch it again"):
        outline, left = named(outlines(found))
        fitting(teacher, outline, path, left, called)
        weights, _ = named(made(found))
    check_finite(path, weights, called)
    return weights


def network(path: Path, found: Mapping[str, Kept], wanted: Collection[str]) -> tuple[dict[str, Kept], list[str]]:
    """Returns the tensors whose names match the network's behind some prefix, without it, and notes on the choice.

    Prefixes are those of wrappers ("module.", "_orig_mod.") and of dicts ("state_dict.", "ema."). If a file has the
    network more than once, an average is taken. StateFault: it has none of these names, or two equally likely networks.
    """
    counts = Counter(name[:cut] for name in found for cut in _cuts(name) if name[cut:] in wanted)
    if not counts:
        raise StateFault(
            f"{path} must hold tensors called {_few(wanted)}, got {_few(found)}; bind the network that it holds, or "
            "give the file in which it is"
        )
    most = max(counts.values())
    alike = [prefix for prefix, count in counts.items() if count == most]
    best = max(map(_averaged, alike))
    chosen = [prefix for prefix in alike if _averaged(prefix) == best]
    if len(chosen) > 1:
        raise StateFault(
            f"{path} must hold one network, got {len(chosen)} alike, {_few(map(repr, chosen))}; save one of them alone"
        )
    (prefix,) = chosen
    taken = {name.removeprefix(prefix): kept for name, kept in found.items() if name.startswith(prefix)}
    beside = [name for name in found if not name.startswith(prefix)]
    notes = [f"{path}: the network is {prefix!r} in it; not read were {_few(beside)}"] if beside else []
    return taken, notes


def _averaged(prefix: str) -> tuple[bool, bool]:
    """Scores how likely a prefix marks averaged weights; its last part counts more than the outer ones."""
    parts = [set(re.split(r"[_\W]+", part.lower())) for part in prefix.split(".") if part]
    return bool(parts) and bool(parts[-1] & AVERAGES), any(part & AVERAGES for part in parts)


def _cuts(name: str) -> Iterator[int]:
    yield 0
    yield from (match.end() for match, _ in zip(re.finditer(r"\.", name), range(16), strict=False))


def _few(names: Collection[str] | Iterator[str] | map[str]) -> str:
    every = list(names)
    return ", ".join(shown(name) for name in every[:3]) + (f" and {len(every) - 3:,} more" if len(every) > 3 else "")
