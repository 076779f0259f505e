"""Finds the network among a file's tensors; files also hold optimizers, averages and wrappers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from boot_exp.teachers import PublishedNetwork, check_finite, fitting, shown
from evals.features.pickles import foreign
from evals.features.stored import Kept, made, outlines
from evals.ground.faults import StateFault

AVERAGES = {"ema", "average", "averaged", "avg", "shadow", "swa"}
"""Words in the name of what holds averaged weights, which are those to sample with."""
NOT_AVERAGED = {"no", "non", "not", "without", "raw", "exp"}
"""Words beside them that deny it; an optimizer's exp_avg is of gradients."""
WORDS = re.compile(r"[_\W\d]+|(?<=[a-z])(?=[A-Z])")
OF_AN_OPTIMIZER = re.compile(r"(^|\.)state\.\d+\.")
ALONE = "save the network to read alone, as torch.save(network.state_dict(), ...)"
Named = Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]]


class _Found(NamedTuple):
    """A network in a file: what is before its tensors' names there, and the file's name of each of them."""

    prefix: str
    names: Mapping[str, str]


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
        tensors = made(found)
        check_finite(path, tensors)  # before a part of one is left out
        return named(tensors)[0]


def network(path: Path, found: Mapping[str, Kept], wanted: Collection[str]) -> tuple[dict[str, Kept], list[str]]:
    """Returns the tensors whose names match the network's behind some prefix, without it, and notes on the choice.

    Prefixes are those of wrappers ("module.", "_orig_mod.") and of dicts ("state_dict.", "ema."); names may also lack
    their dots, as in Lightning's averages, or be those of a list in the same order. If a file has the network more than
    once, an average is taken. StateFault: it has none of these names, two equally likely networks, or an average that
    is not all of the network.
    """
    chosen, order = _chosen(path, found, wanted), ""
    if beside := _averages_beside(chosen.prefix, found):
        listed = _listed(chosen, found, beside)
        if listed is None:
            raise StateFault(
                f"{path} must hold an average of the whole network by name, got {len(beside)} tensors of one, "
                f"{_few(beside)}, beside {chosen.prefix!r} with {len(chosen.names)}; {ALONE}"
            )
        order = f" (a list, read in the order of {chosen.prefix!r})"
        chosen = listed
    of_it = set(chosen.names.values())
    for name in chosen.names.values():
        if kind := found[name].unread:
            raise StateFault(
                f"{path} must hold tensors of floating-point numbers, got {shown(name)}, which is {kind} in the file; "
                "save it as a plain float32 tensor"
            )
    rest = {} if order else {name: kept for name, kept in found.items() if name.startswith(chosen.prefix)}
    rest = {name: kept for name, kept in rest.items() if name not in of_it and not kept.unread}
    single = [name for name, kept in rest.items() if kept.shape == () and any(_averaged(chosen.prefix))]
    taken = {ours: found[theirs] for ours, theirs in chosen.names.items()}
    taken |= {name.removeprefix(chosen.prefix): kept for name, kept in rest.items() if name not in single}
    read = of_it | rest.keys()
    beside = [*single, *(name for name, kept in found.items() if name not in read and not kept.unread)]
    notes = [f"{path}: the network is {chosen.prefix!r} in it{order}; not read were {_few(beside)}"] if beside else []
    return taken, notes


def _chosen(path: Path, found: Iterable[str], wanted: Collection[str]) -> _Found:
    """Returns the network with the most of the names. StateFault: there is none, or two are equally likely."""
    ways = _ways(found, wanted)
    if not ways:
        raise StateFault(
            f"{path} must hold tensors called {_few(wanted)}, got {_few(found)}; bind the network that it holds, or "
            "give the file in which it is"
        )
    most = max(len(way.names) for way in ways)
    alike = [way for way in ways if len(way.names) == most]
    best = max(_averaged(way.prefix) for way in alike)
    chosen = [way for way in alike if _averaged(way.prefix) == best]
    if len(chosen) > 1:
        said = _few([repr(way.prefix) for way in chosen])
        raise StateFault(f"{path} must hold one network, got {len(chosen)} alike, {said}; save one of them alone")
    return chosen[0]


def _ways(found: Iterable[str], wanted: Collection[str]) -> list[_Found]:
    """Returns every prefix behind which there are names of the network, with their dots or without."""
    known, undotted = set(wanted), {name.replace(".", ""): name for name in wanted if "." in name}
    longest = max(map(len, undotted), default=0)
    ways: defaultdict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    for name in found:
        for cut in _cuts(name):
            if name[cut:] in known:
                ways[name[:cut], True][name[cut:]] = name
        for cut in range(max(name.rfind(".") + 1, len(name) - longest), len(name)):
            if (ours := undotted.get(name[cut:])) is not None:
                ways[name[:cut], False][ours] = name
    return [_Found(prefix, names) for (prefix, _), names in ways.items()]


def _averages_beside(prefix: str, found: Mapping[str, Kept]) -> list[str]:
    """Returns the tensors of an average if the network behind the prefix is none; single numbers are no weights."""
    beside = []
    for name, kept in found.items():
        if name.startswith(prefix) or OF_AN_OPTIMIZER.search(name) or not (prod(kept.shape) > 1 or kept.kind):
            continue
        ours, theirs = prefix.split("."), name.split(".")
        while ours and theirs and ours[0] == theirs[0]:  # what is around both marks neither
            ours, theirs = ours[1:], theirs[1:]
        if any(map(_tells, theirs)) and not any(map(_tells, ours)):
            beside.append(name)
    return beside


def _listed(raw: _Found, found: Mapping[str, Kept], beside: Collection[str]) -> _Found | None:
    """Returns the one list of an average's tensors that has the shapes of a network's, in the file's order."""
    ours = {theirs: name for name, theirs in raw.names.items()}
    order = [name for name in found if name in ours]
    lists: defaultdict[str, list[str]] = defaultdict(list)
    for name in beside:
        lists[name.rpartition(".")[0]].append(name)
    wanted = [(str(i), found[name].shape) for i, name in enumerate(order)]
    fit = [
        parent
        for parent, names in lists.items()
        if [(name.removeprefix(f"{parent}."), found[name].shape) for name in names] == wanted
    ]
    best = max(map(_averaged, fit), default=None)
    fit = [parent for parent in fit if _averaged(parent) == best]
    if len(fit) != 1:
        return None
    return _Found(f"{fit[0]}.", {ours[name]: f"{fit[0]}.{i}" for i, name in enumerate(order)})


def _averaged(prefix: str) -> tuple[bool, bool]:
    """Scores how likely a prefix marks averaged weights; its last part counts more than the outer ones."""
    parts = [_tells(part) for part in prefix.split(".") if part]
    return bool(parts) and parts[-1], any(parts)


def _tells(part: str) -> bool:
    """Whether a part of a name says that averaged weights are within."""
    words = {word.lower() for word in WORDS.split(part)}
    return bool(words & AVERAGES) and not words & NOT_AVERAGED


def _cuts(name: str) -> Iterator[int]:
    yield 0
    yield from (match.end() for match, _ in zip(re.finditer(r"\.", name), range(16), strict=False))


def _few(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(shown(name) for name in every[:3]) + (f" and {len(every) - 3:,} more" if len(every) > 3 else "")
