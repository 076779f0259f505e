"""CLIP by a model of transformers in a folder: cosines of images and texts (arXiv 2104.08718), and its embeddings."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from evals.features.extractors import Observation, at_once, on_device, rgb
from evals.ground.faults import MissingResource, StateFault, reading
from evals.ground.files import sha256_of
from evals.images.reading import Images, ImageSet

AT_ONCE = 32
WEIGHTS = "model.safetensors"


class Clip:
    """A CLIPModel with its tokenizer and image processor, from a folder that `save_pretrained` wrote."""

    def __init__(self, folder: Path | str) -> None:
        """MissingResource: no folder, or no transformers; StateFault: damaged, or of another model."""
        folder = Path(folder)
        if not (folder / WEIGHTS).is_file():
            raise MissingResource(
                f"CLIP must be a folder with {WEIGHTS}, config.json and the files of its tokenizer and processor, got "
                f"{folder}; fetch one (openai/clip-vit-base-patch32, say) and bind its path"
            )
        try:
            import transformers
        except ModuleNotFoundError as error:
            raise MissingResource(
                "transformers must be installed for this, and is not; run: pip install 'boot-exp[text]'"
            ) from error
        with reading(folder, "must hold a CLIPModel, its tokenizer and its processor", "fetch it again", StateFault):
            model: Any = transformers.CLIPModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
            self._model = model.eval().requires_grad_(False)
            self._tokenizer: Any = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            self._processor: Any = transformers.CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        self.sha256 = sha256_of(folder / WEIGHTS)

    def cosines(self, images: Sequence[Any], texts: Sequence[str]) -> list[float]:
        """Returns the cosine of each image, uint8 [H, W, C], with its text."""
        pictures = [Image.fromarray(image) for image in images]
        with torch.inference_mode():
            pixels = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
            tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=77, return_tensors="pt")
            made = self._model(pixel_values=pixels, **tokens)
            both = zip(made.image_embeds, made.text_embeds, strict=True)
            return [float(torch.cosine_similarity(image, text, dim=0)) for image, text in both]

    def score(self, images: ImageSet, texts: Sequence[str]) -> dict[str, Any]:
        """Returns the mean cosine times 100 of images with their texts in order, and the hash of the model."""
        rest, found = iter(texts), []
        for batch in images.batches(AT_ONCE):
            found += self.cosines(list(rgb(batch)), list(islice(rest, len(batch))))
        return {"clip_score": 100 * float(np.mean(found)), "clip_sha256": self.sha256}


class Embeddings(Clip):
    """A CLIP whose two halves are asked apart; that of images is an Extractor of unit vectors."""

    def __init__(self, folder: Path | str, device: str = "cpu") -> None:
        """Faults: those of `Clip`, and of a device that is not there."""
        super().__init__(folder)
        self._model, self._device = on_device(device, self._model), device
        vision, self.dimensions = self._model.config.vision_config, int(self._model.config.projection_dim)
        self.name = f"clip-patch{vision.patch_size}-{vision.image_size}"
        self.resize = f"the model's own image processor, to {vision.image_size}x{vision.image_size}"

    def __call__(self, images: Images) -> Observation:
        size = at_once(self._device)
        parts = [self.of_images(images[low : low + size]) for low in range(0, len(images), size)]
        return Observation(features=torch.cat(parts).numpy())

    def of_images(self, images: Images) -> Tensor:
        """Returns the unit vectors of images, uint8 [B, H, W, C]: [B, D]."""
        pictures = [Image.fromarray(image) for image in rgb(images)]
        pixels = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            found = self._model.get_image_features(pixel_values=pixels.to(self._device))
            return F.normalize(getattr(found, "pooler_output", found), dim=-1).cpu()

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Returns the unit vectors of texts: [T, D]. What is longer than 77 tokens is cut, as CLIP's own code does."""
        made = []
        for low in range(0, len(texts), AT_ONCE):
            some = list(texts[low : low + AT_ONCE])
            tokens = self._tokenizer(some, padding=True, truncation=True, max_length=77, return_tensors="pt")
            with torch.inference_mode():
                found = self._model.get_text_features(**tokens.to(self._device))
                made.append(F.normalize(getattr(found, "pooler_output", found), dim=-1).cpu())
        return torch.cat(made)
