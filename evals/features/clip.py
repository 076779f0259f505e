"""CLIP's cosine of images and texts (CLIPScore, arXiv 2104.08718), by a model of transformers in a folder."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from evals.features.extractors import rgb
from evals.ground.faults import MissingResource, StateFault, reading
from evals.ground.files import sha256_of
from evals.images.reading import ImageSet

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
