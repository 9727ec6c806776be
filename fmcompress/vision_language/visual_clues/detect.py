"""Objects in an image by a detector of transformers: of a fixed set of classes, or of any words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, ConfigError, in_one_line
from .clues import Clue, DetectedObject
from .tags import OBJECT_TEMPLATE

CLOSED, OPEN = 0.5, 0.1  # scores from which an object counts: of fixed classes, and of words as OWL-ViT scores them


class ObjectDetector:
    """A detector from a local folder, dense or packed; no code in it is run.

    folder     of a model for object detection, such as DETR, RT-DETR or YOLOS, or for zero-shot object detection, such
               as OWL-ViT, with its image processor (and tokenizer); images are prepared by Pillow
    device     "auto", "cpu", "cuda", "cuda:1", ...
    threshold  the lowest score that counts; 0.5 for fixed classes, 0.1 for words, unless given
    most       objects in an image; those of the highest scores

    Raises CheckpointError if it does not load, ConfigError if it is no detector or a number means nothing.
    """

    def __init__(
        self, folder: str | Path, device: str = "auto", threshold: float | None = None, most: int = 20
    ) -> None:
        from ...runtime import load

        self.folder, self.most = Path(folder), most
        if not self.folder.is_dir():
            raise ConfigError(
                f"{folder}: no such folder. Give the folder of a detector; download models of a hub first."
            )
        self.model: Any = load(self.folder, device=device, dtype="float32")
        self.processor = self._processor()
        kinds = ("post_process_object_detection", "post_process_grounded_object_detection")
        closed, opened = (hasattr(self.processor, name) for name in kinds)
        self.takes_words = opened and hasattr(self.model.config, "text_config")
        if not self.takes_words and not (closed and "Detection" in type(self.model).__name__):
            raise ConfigError(f"{folder}: expected a model that detects objects, got {type(self.model).__name__}.")
        self.threshold = (OPEN if self.takes_words else CLOSED) if threshold is None else threshold
        if most < 1 or not 0 <= self.threshold <= 1:
            raise ConfigError(f"detector: expected most >= 1 and a threshold in [0, 1], got {most}, {threshold}.")

    def detect(self, image: Any, words: Sequence[str] = ()) -> tuple[DetectedObject, ...]:
        """The objects of an image by falling score, boxes within it.

        image  Pillow's, in RGB
        words  to look for; a detector of fixed classes looks for those alone, and takes none of them

        Raises ConfigError where a detector of words is given none, or more than it takes.
        """
        if self.takes_words and not words:
            raise ConfigError(f"{self.folder}: looks for words, and there are none. Give a vocabulary.")
        labels, scores, boxes = self._run(image, words)
        order = sorted(range(len(scores)), key=lambda at: -scores[at])
        found = (self._object(labels[at], scores[at], boxes[at], image.size) for at in order)
        return tuple(one for one in found if one is not None)[: self.most]

    def _run(self, image: Any, words: Sequence[str]) -> tuple[list[str], list[float], list[list[float]]]:
        import torch

        prompts = [OBJECT_TEMPLATE.format(word).rstrip(".") for word in words]
        text = {"text": [prompts], "padding": True, "truncation": True} if self.takes_words else {}
        try:
            given = self.processor(images=[image], return_tensors="pt", **text).to(self.model.device)
            with torch.inference_mode():
                output = self.model(**given)
        except Exception as error:
            raise ConfigError(f"{self.folder}: does not take the image or the words ({in_one_line(error)}).") from None
        sizes = [(image.height, image.width)]
        if self.takes_words:
            found = self.processor.post_process_grounded_object_detection(
                output, threshold=self.threshold, target_sizes=sizes, text_labels=[list(words)]
            )[0]
            names = list(found["text_labels"])
        else:
            found = self.processor.post_process_object_detection(output, threshold=self.threshold, target_sizes=sizes)[
                0
            ]
            known = self.model.config.id2label
            names = [str(known.get(number, number)) for number in found["labels"].tolist()]
        return names, found["scores"].tolist(), found["boxes"].tolist()

    def _object(self, name: str, score: float, box: list[float], size: tuple[int, int]) -> DetectedObject | None:
        """None for what lies beside the image, or has no area."""
        width, height = size
        left, right = (min(max(x / width, 0.0), 1.0) for x in (box[0], box[2]))
        top, bottom = (min(max(y / height, 0.0), 1.0) for y in (box[1], box[3]))
        inside = left < right and top < bottom  # also none of them NaN
        return DetectedObject(Clue(name, score), (left, top, right, bottom)) if inside else None

    def _processor(self) -> Any:
        if not hasattr(self.model.config, "text_config"):
            from ...calibration import load_processor

            return load_processor(self.folder)
        return multimodal_processor(self.folder)


def multimodal_processor(folder: Path) -> Any:
    """The processor of images and text of a folder, over Pillow. Raises CheckpointError if none loads offline."""
    try:
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")
    except Exception as error:
        raise CheckpointError(
            f"{folder}: its processor does not load ({in_one_line(error)}). Copy preprocessor_config.json and the "
            "tokenizer's files from the original model into the folder."
        ) from None
