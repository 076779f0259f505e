"""Shared by all tests: the oracle is importable, and the number of threads is fixed."""

import os

# Sums differ in their last digits with the number of threads. This holds before torch is imported, and for every
# process that a test starts, so that runs of different processes can be compared bit for bit.
os.environ["OMP_NUM_THREADS"] = "1"
