"""What tests of the evaluate share with others."""

import numpy as np

from evals.features.extractors import Observation
from evals.images.reading import Images
from evals.scores.scoring import Record


class Pixels:
    """The plainest extractor: what is in the corner, with two classes by brightness."""

    name, sha256, resize, dimensions = "corner", "c0ffee" * 10, "none", 6

    def __call__(self, images: Images) -> Observation:
        features = images[:, :2, :3, 0].reshape(len(images), -1).astype(np.float32) / 255
        bright = features.mean(axis=1)
        return Observation(features=features, probabilities=np.stack([bright, 1 - bright], axis=1))


def pictures(seed: int, n: int = 150, top: int = 256) -> Images:
    return np.random.default_rng(seed).integers(0, top, (n, 4, 4, 1), dtype=np.uint8)


def claim(n: int, sampler: str = "ddim_8") -> Record:
    card = {"seeds": [0], "solver": "Ddim", "ema": 0.99, "commit": "abc"}
    fields = {"suite": "dots", "method": "teacher", "sampler": sampler, "nfe": 8, "n": n, "seconds_per_image": 0.01}
    return fields | {"card": card}
