"""Reads the pages of an lmdb (OpenLDAP's LMDB 0.9, format 1, little-endian) with ordinary file reads.

The lmdb library maps the file, and reading the map of a damaged or cut file ends the process (SIGBUS, SIGABRT,
SIGSEGV). Here every number in the file is checked against the file before it is used. Layout: MDB_meta, MDB_page and
MDB_node of mdb.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = (0xBEEFC0DE, 1)
META = struct.Struct("<II8xQ48xIHHQQQQQQQ")
"""After a page's header: magic, version, map size; of the main tree its pad, flags, depth, pages of three kinds,
entries and root; last page; transaction. The tree of free pages is passed over; its first word is the page size."""
PAGE_HEADER, NODE_HEADER = 16, 8
BRANCH, LEAF, OVERFLOW = 1, 2, 4
BIG, SUBTREE, SEVERAL = 1, 2, 4
EMPTY = 2**64 - 1
DEEPEST = 32


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The root of the newest version of the main tree, and its depth and number of entries."""

    page_size: int
    depth: int
    entries: int
    root: int


class Pages:
    """A file of pages. ValueError: a number in it is impossible."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tree = self._newest()

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields every key and value, in the order of the keys."""
        if self.tree.root == EMPTY:
            return
        before: bytes | None = None
        count = 0
        # This ends for any pages, because each leaf yields at least one key, and keys that do not increase are refused.
        for key, value in self._below(self.tree.root, self.tree.depth):
            if before is not None and key <= before:
                raise ValueError(f"keys out of order after {count:,}")
            before = key
            count += 1
            yield key, value
        if count != self.tree.entries:
            raise ValueError(f"{count:,} of {self.tree.entries:,} entries")

    def _newest(self) -> Tree:
        found = []
        page_size = int.from_bytes(self._read(PAGE_HEADER + 24, 4), "little")
        if page_size not in {2**power for power in range(8, 17)}:
            raise ValueError(f"pages of {page_size} bytes")
        for start in (0, page_size):
            magic, version, _, _, flags, depth, *_, entries, root, _, transaction = META.unpack(
                self._read(start + PAGE_HEADER, META.size)
            )
            if (magic, version) != MAGIC:
                raise ValueError("another format or version")
            if flags & SEVERAL or depth > DEEPEST:
                raise ValueError(f"a tree of flags {flags} and depth {depth}")
            found.append((transaction, Tree(page_size=page_size, depth=depth, entries=entries, root=root)))
        return max(found, key=lambda pair: pair[0])[1]

    def _below(self, number: int, depth: int) -> Iterator[tuple[bytes, bytes]]:
        if depth < 1:
            raise ValueError("a tree that is deeper than it says")
        page = self._page(number)
        kind, lower = struct.unpack_from("<HH", page, 10)
        wanted = LEAF if depth == 1 else BRANCH
        if kind & 0x6F != wanted or not PAGE_HEADER <= lower <= len(page) or lower % 2:
            raise ValueError(f"page {number} of kind {kind}, where {wanted} belongs")
        if lower == PAGE_HEADER:
            raise ValueError(f"page {number} without an entry")
        starts = struct.unpack_from(f"<{(lower - PAGE_HEADER) // 2}H", page, PAGE_HEADER)
        for start in starts:
            if not lower <= start <= len(page) - NODE_HEADER:
                raise ValueError(f"page {number} with an entry outside it")
            low, high, flags, length = struct.unpack_from("<4H", page, start)
            key_end = start + NODE_HEADER + length
            if key_end > len(page):
                raise ValueError(f"page {number} with a key outside it")
            if wanted == BRANCH:
                yield from self._below(low | high << 16 | flags << 32, depth - 1)
                continue
            if flags & ~BIG:
                raise ValueError("named databases in it, or several values of a key")
            yield page[start + NODE_HEADER : key_end], self._value(page, key_end, low | high << 16, flags)

    def _value(self, page: bytes, start: int, length: int, flags: int) -> bytes:
        if not flags & BIG:
            if start + length > len(page):
                raise ValueError("a value outside its page")
            return page[start : start + length]
        if start + 8 > len(page):
            raise ValueError("a value outside its page")
        number = int.from_bytes(page[start : start + 8], "little")
        place = number * self.tree.page_size
        header = self._read(place, PAGE_HEADER)
        found, kind, pages = struct.unpack("<Q2xHI", header)
        if found != number or kind & 0x6F != OVERFLOW or pages * self.tree.page_size < PAGE_HEADER + length:
            raise ValueError(f"page {number} that is not the long value it should be")
        return self._read(place + PAGE_HEADER, length)

    def _page(self, number: int) -> bytes:
        page = self._read(number * self.tree.page_size, self.tree.page_size)
        if int.from_bytes(page[:8], "little") != number:
            raise ValueError(f"page {number} in another's place")
        return page

    def _read(self, place: int, length: int) -> bytes:
        if place + length > self._size:
            raise ValueError(f"page data at {place:,} beyond its end at {self._size:,}: it is cut short or damaged")
        self._file.seek(place)
        data = self._file.read(length)
        if len(data) < length:
            raise ValueError("an end before its end: it was cut while it was read")
        return data
