"""Reads pickles as records of their contents; nothing that a pickle names is looked up, called, hashed or printed."""

import pickletools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from evals.ground.faults import StateFault, reading

OPCODES = 300_000
"""Most steps that a pickle may have: networks' have some forty a tensor; each takes microseconds and some bytes."""
LONGEST_NAME = 1_000
"""Characters of a key that is looked at: networks' have a hundred."""


class Refused(Exception):
    """Raised if a file asks for something that it may not hold."""


@dataclass(slots=True, eq=False, repr=False)
class Name:
    """A name in a pickle, "module.name"; it is not looked up."""

    full: str


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """An object that a pickle builds: name, arguments, items put into it (a dict's pairs), and state."""

    name: str
    arguments: Any = ()
    held: list[Any] = field(default_factory=list)
    state: Any = None


DICTS = ("dict", "collections.OrderedDict", "collections.Counter", "dnnlib.util.EasyDict", "dnnlib.EasyDict")


class Within:
    """A file that refuses to read past its end, so a false length is refused before memory is allocated."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def tell(self) -> int:
        """Returns the position in the file."""
        return self.file.tell()

    def read(self, count: int) -> bytes:
        """Reads the next bytes. Refused: there are fewer."""
        if not 0 <= count <= self.size - self.file.tell():
            raise Refused(f"a file that ends within {count:,} bytes that it announces")
        return self.file.read(count)

    def readline(self) -> bytes:
        """Reads the rest of a line."""
        return self.file.readline(self.size)


@contextmanager
def foreign(path: Path, must: str, cure: str) -> Iterator[None]:
    """StateFault: a third-party file is not what `must` states; a Refused in the block gives the reason."""
    with reading(path, must, cure, StateFault):
        try:
            yield
        except Refused as refused:
            raise StateFault(f"{path} {must}, got {refused}; {cure}") from None


def no_storage(_: Any) -> Any:
    """Refused: a pickle has a persistent id, which has no meaning in this file."""
    raise Refused("a persistent id")


def read(file: Within, allowed: Callable[[str], bool], stored: Callable[[Any], Any] = no_storage) -> Any:
    """Reads the next pickle of a file and leaves the file behind it.

    allowed: whether a pickle may use a name; stored: returns the object for a persistent id. Refused: it uses another
    name, or does something that no pickle of tensors does.
    """
    machine = _Machine(allowed, stored)
    for count, (code, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if count >= OPCODES:
            raise Refused(f"a pickle of more than {OPCODES:,} steps")
        if code.name == "STOP":
            return machine.stack.pop()
        if code.name in STEPS:
            STEPS[code.name](machine, argument)
        elif code.name not in UNREAD and code.arg is not None:
            machine.stack.append(argument)
        else:
            raise Refused(f"pickle's {code.name}")
    raise Refused("a pickle without an end")


def entries(value: Any) -> dict[str, Any] | None:
    """Returns the items of a pickle's dict by name; integers count as names. None: it is not a dict."""
    if not isinstance(value, Record) or value.name not in DICTS:
        return None
    return {str(key): part for key, part in _pairs(value) if _is_name(key)}


def size(value: Any) -> int:
    """Counts the things that a record contains."""
    return len(value.held) + len(_given(value)) if isinstance(value, Record) else 0


def kind(value: Any) -> str:
    """Describes an object of a pickle in one word, without looking into it."""
    name = value.full if isinstance(value, Name) else value.name if isinstance(value, Record) else type(value).__name__
    return name if len(name) <= 100 else f"{name[:100]}..."


def _given(record: Record) -> list[Any] | tuple[Any, ...]:
    given = record.arguments[0] if isinstance(record.arguments, tuple) and record.arguments else ()
    given = given.held if isinstance(given, Record) else given
    return given if isinstance(given, list | tuple) else ()


def _pairs(record: Record) -> Iterator[tuple[Any, Any]]:
    for pair in (*_given(record), *record.held):
        if isinstance(pair, list | tuple) and len(pair) == 2:
            yield pair[0], pair[1]


def _is_name(key: Any) -> bool:
    return len(key) <= LONGEST_NAME if isinstance(key, str) else isinstance(key, int) and abs(key) < 2**63


class _Machine:
    """Pickle's stack machine on records. Objects on the stack are moved and never inspected, so every step is short."""

    def __init__(self, allowed: Callable[[str], bool], stored: Callable[[Any], Any]) -> None:
        self.allowed, self.stored = allowed, stored
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """Pops everything pushed since the last mark."""
        found, self.stack = self.stack, self.below.pop()
        return found

    def pop_mark(self, _: Any) -> None:
        self.marked()

    def pop(self, _: Any) -> None:
        self.taken(1) if self.stack else self.marked()

    def taken(self, count: int) -> list[Any]:
        """Pops the last objects."""
        if len(self.stack) < count:
            raise Refused("a pickle whose stack is empty")
        found = self.stack[-count:]
        del self.stack[-count:]
        return found

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("a name that is no text")
        found = Name(f"{module}.{name}")
        if not self.allowed(found.full):
            raise Refused(f"{kind(found)}, which no file of tensors names")
        self.stack.append(found)

    def call(self, count: int) -> None:
        called, *given = self.taken(count)
        if not isinstance(called, Name):
            raise Refused(f"a call of {kind(called)}")
        self.stack.append(Record(called.full, given[0]))

    def put(self, items: list[Any]) -> None:
        into = self.stack[-1]
        if not isinstance(into, list | Record):
            raise Refused(f"items of {kind(into)}")
        (into.held if isinstance(into, Record) else into).extend(items)

    def put_pairs(self, items: list[Any]) -> None:
        into = self.stack[-1]
        if not isinstance(into, Record) or len(items) % 2:
            raise Refused(f"entries of {kind(into)}")
        into.held.extend(zip(items[::2], items[1::2], strict=True))

    def build(self, _: Any) -> None:
        (state,) = self.taken(1)
        into = self.stack[-1]
        if not isinstance(into, Record):
            raise Refused(f"the state of {kind(into)}")
        into.state = state

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def get(self, index: Any) -> None:
        self.stack.append(self.memo[int(index)])

    def keep(self, index: Any) -> None:
        self.memo[len(self.memo) if index is None else int(index)] = self.stack[-1]


def _dict(items: list[Any]) -> Record:
    return Record("dict", (), list(zip(items[::2], items[1::2], strict=True)))


STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, value: None),
    "NONE": _Machine.push,  # whose argument is None
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.taken(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.taken(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.taken(3))),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "LIST": lambda machine, _: machine.push(machine.marked()),
    "APPEND": lambda machine, _: machine.put(machine.taken(1)),
    "APPENDS": lambda machine, _: machine.put(machine.marked()),
    "EMPTY_SET": lambda machine, _: machine.push(Record("set")),
    "FROZENSET": lambda machine, _: machine.push(Record("frozenset", (), machine.marked())),
    "ADDITEMS": lambda machine, _: machine.put(machine.marked()),
    "EMPTY_DICT": lambda machine, _: machine.push(Record("dict")),
    "DICT": lambda machine, _: machine.push(_dict(machine.marked())),
    "SETITEM": lambda machine, _: machine.put_pairs(machine.taken(2)),
    "SETITEMS": lambda machine, _: machine.put_pairs(machine.marked()),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.keep),
    "GLOBAL": lambda machine, both: machine.name(*both.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.taken(2)),
    "REDUCE": lambda machine, _: machine.call(2),
    "NEWOBJ": lambda machine, _: machine.call(2),
    "NEWOBJ_EX": lambda machine, _: machine.call(3),
    "BUILD": _Machine.build,
    "BINPERSID": lambda machine, _: machine.push(machine.stored(*machine.taken(1))),
}
UNREAD = frozenset({"INST", "PERSID", "EXT1", "EXT2", "EXT4"})
"""Steps with an argument that are no constants; every other step that has one pushes it."""
