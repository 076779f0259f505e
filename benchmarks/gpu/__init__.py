"""Tests, timings and a real run on a GPU, within a time limit. See docs/gpu.md."""
