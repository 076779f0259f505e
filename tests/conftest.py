"""Shared by all tests: the oracle is importable, and one thread, for which bit-identical is promised and fast."""

import os
import sys
from pathlib import Path

# Before torch is imported, and for every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))
