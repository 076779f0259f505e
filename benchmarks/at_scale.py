"""`python -m benchmarks.at_scale`: what all scores of many samples cost beside the features of Inception.

Random features of 2,048 numbers stand in for Inception's, since scores cost the same of any features. How long
Inception itself takes is measured on a few images of noise, with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from evals.features.extractors import Observation
from evals.ground.files import sha256_of
from evals.images.reading import Images, images_of

TIMED = 128
"""Images of which Inception's time is measured, after one batch that is not."""
CLASSES = 1008


class RandomFeatures:
    """An extractor of one random layer: pixels -> 2,048 features that are at least 0, and chances of classes."""

    name, sha256, resize, dimensions = "random-features", "0" * 64, "none", 2048

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.weights = draw.standard_normal((3 * 8 * 8, self.dimensions)).astype(np.float32)

    def __call__(self, images: Images) -> Observation:
        x = images.reshape(len(images), -1).astype(np.float32) / 127.5 - 1
        features = np.maximum(x @ self.weights / 8, 0)
        chances = np.exp(features[:, :CLASSES] - features[:, :CLASSES].max(axis=1, keepdims=True))
        return Observation(features=features, probabilities=chances / chances.sum(axis=1, keepdims=True))


def inception(folder: Path) -> float:
    """Returns Inception's seconds for one image."""
    import torch

    from benchmarks.scores import weights
    from evals.features.extractors import TorchFidelityInception

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    path, _ = weights(folder)
    extractor = TorchFidelityInception(weights=path, sha256=sha256_of(path))
    pixels = np.random.default_rng(0).integers(0, 256, (TIMED, 64, 64, 3), dtype=np.uint8)
    extractor(pixels[:32])
    started = time.perf_counter()
    for low in range(0, TIMED, 32):
        extractor(pixels[low : low + 32])
    return (time.perf_counter() - started) / TIMED


def part(name: str, folder: Path, count: int) -> dict[str, float]:
    """Runs one part, in a process of its own: {seconds, gib}, the peak of its memory."""
    from evals.scores.references import load_reference, reference
    from evals.scores.scoring import evaluate

    started, made = time.perf_counter(), folder / "reference.npz"
    if name == "images":
        for seed, which in enumerate(("real", "samples")):
            shape = (count, 8, 8, 3)
            np.save(folder / f"{which}.npy", np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    elif name == "features":
        extractor = RandomFeatures()
        for batch in images_of(np.load(folder / "samples.npy"), "memory").batches(64):
            extractor(batch)
    elif name == "reference":
        reference(folder / "real.npy", RandomFeatures(), out=made, split="made")
    elif name == "evaluate":
        evaluate(folder / "samples.npy", load_reference(made), RandomFeatures())
    else:
        return {"seconds": inception(folder)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": time.perf_counter() - started, "gib": peak}


def measured(count: int, threads: int) -> dict[str, Any]:
    """Runs all parts in turn."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    found: dict[str, Any] = {"n": count, "threads": threads}
    with tempfile.TemporaryDirectory(prefix="boot-exp-benchmark-") as folder:
        for name in ("images", "features", "inception", "reference", "evaluate"):
            command = [sys.executable, "-m", "benchmarks.at_scale", "--part", name, "--folder", folder]
            command += ["--n", str(count)]
            done = subprocess.run(command, env=os.environ | limits, check=True, stdout=subprocess.PIPE, text=True)
            found[name] = json.loads(done.stdout)
            print(f"{name}: {done.stdout.strip()}", file=sys.stderr, flush=True)
    own = found["inception"]["seconds"] * count
    # What the stand-in itself takes is no part of the scores.
    scores = {name: found[name]["seconds"] - found["features"]["seconds"] for name in ("reference", "evaluate")}
    found["ratio"] = 1 + scores["evaluate"] / own
    found["ratio_with_reference"] = 1 + sum(scores.values()) / (2 * own)
    return found


def main() -> None:
    """Prints the seconds and the memory of each part as JSON.

    ratio: features and scores of the samples over their features alone; ratio_with_reference: of the reference's images
    too.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.at_scale", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50_000, help="samples, and real images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(part(given.part, given.folder, given.n)))
    else:
        print(json.dumps(measured(given.n, given.threads), indent=2))


if __name__ == "__main__":
    main()
