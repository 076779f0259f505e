"""The device of these laws: the GPU, or the CPU in its place where BOOT_EXP_STAND_IN is set, which is a rehearsal."""

from __future__ import annotations

import os

import pytest
import torch

from boot_exp.engine.compute import Compute

# Read by CUDA when it starts: without it cuBLAS has no deterministic products.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def device() -> torch.device:
    """Where the laws are tried; products of float32 are of float32 there."""
    if os.environ.get("BOOT_EXP_STAND_IN"):
        return Compute(device="cpu").find()
    if not torch.cuda.is_available():
        pytest.skip("no GPU is here")
    return Compute(device="cuda").find()
