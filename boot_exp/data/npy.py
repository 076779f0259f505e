"""Writes arrays row by row, for data that need not fit into memory."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray


class NpyStream:
    """Writes a .npy file of rows of one shape and type; `finish` writes their number, known only at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self.shape: tuple[int, ...] = (0,)
        self._file = file

    def append(self, row: NDArray[np.generic]) -> None:
        """Writes one row."""
        if self.shape[0] == 0:
            self.shape = (0, *row.shape)
            self._descr = np.lib.format.dtype_to_descr(row.dtype)
            self._write_header()
        self._file.write(row.tobytes())
        self.shape = (self.shape[0] + 1, *row.shape)

    def finish(self) -> None:
        """Writes the number of rows into the header. At least one row must have been appended."""
        end = self._file.tell()
        self._file.seek(0)
        self._write_header()
        self._file.seek(end)

    def _write_header(self) -> None:
        # NumPy pads a header so that the first axis can grow without changing the number of bytes.
        header = {"descr": self._descr, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._file, header)
