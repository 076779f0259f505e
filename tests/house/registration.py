"""An extractor made known to torch-fidelity and clean-fid, so that their metrics run on its features."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from evals.features.extractors import Extractor
from evals.images.reading import Images


def register(extractor: Extractor, channels: int) -> str:
    """Registers with torch-fidelity under the name returned, which carries the hash; again does nothing.

    `channels` is what the extractor sees: torch-fidelity reads every image as RGB, so gray ones come threefold.
    Layers: `features`, and `logits` (log-probabilities) where there are classes.
    """
    # torch-fidelity's cache knows an extractor by this name alone.
    name = f"{extractor.name}-{extractor.sha256[:8]}"

    class Registered(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            # torch-fidelity hands every extractor all the arguments of calculate_metrics.
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            seen = extractor(_images(images, channels))
            layers = {"features": torch.from_numpy(seen.features)}
            if seen.probabilities is not None:
                layers["logits"] = torch.from_numpy(seen.probabilities).log()
            return tuple(layers[layer] for layer in self.features_list)

    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, Registered)
    return name


def clean_fid_model(extractor: Extractor, channels: int) -> Callable[[Tensor], Tensor]:
    """For `custom_feat_extractor` of cleanfid.fid.compute_fid; give `unresized` as its `custom_fn_resize`."""
    return lambda images: torch.from_numpy(extractor(_images(images, channels)).features)


def unresized(image: Images) -> NDArray[np.float32]:
    """Leaves an image as it is; as floats, which clean-fid passes on unscaled."""
    return image.astype(np.float32)


def _images(images: Tensor, channels: int) -> Images:
    array: Images = images[:, :channels].to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return array
