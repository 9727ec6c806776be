"""Classes of images and actions in videos: the visual encoder with a linear head, to be fine-tuned."""

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

from .configuration import OmniVLVisionConfig
from .visual_encoder import OmniVLVisionModel, OmniVLVisualEncoder


class OmniVLForVisualClassification(OmniVLVisionModel):
    """The visual encoder and a head over its class token (Wang et al. 2022, visual only tasks).

    config.num_labels classes, named by config.id2label.
    """

    def __init__(self, config: OmniVLVisionConfig) -> None:
        super().__init__(config)
        self.visual_encoder = OmniVLVisualEncoder(config)
        self.classifier = nn.Linear(config.hidden_size, int(config.num_labels))  # type: ignore[arg-type]
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any) -> ImageClassifierOutput:
        """Logits [items, classes], and the mean cross-entropy where labels [items] int64 are given."""
        logits = self.classifier(self.visual_encoder(pixel_values).pooler_output)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)
