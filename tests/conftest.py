"""Shared by all tests: the oracle is importable, and torch is as repeatable as it can be."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
