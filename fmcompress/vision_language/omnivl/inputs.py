"""What an OmniVL model is given: pixels of images or videos, and tokens of texts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...calibration.images import load_processor
from ...calibration.text import load_tokenizer
from ...errors import CalibrationError, CheckpointError, ConfigError, in_one_line
from ...media import is_video, read_media
from ...models.omnivl.configuration import OmniVLConfig

CLS, SEP, PAD, DEC, ENC = "[CLS]", "[SEP]", "[PAD]", "[DEC]", "[ENC]"
VOCABULARY = 2000  # of a new tokenizer at the most


class OmniVLInputs:
    """The tokenizer and the image processor of a checkpoint's folder, and its config.

    cut  number of different texts so far that were longer than the model takes, and lost their end

    Raises CheckpointError if one of the three does not load.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.config = _config(folder)
        self.tokenizer, self.processor = load_tokenizer(folder), load_processor(folder)
        self._cut: set[str] = set()
        text = self.config.text_config
        if (self.tokenizer.sep_token_id, self.tokenizer.pad_token_id) != (text.sep_token_id, text.pad_token_id):
            raise CheckpointError(
                f"{folder}: expected a tokenizer whose {SEP} and {PAD} are {text.sep_token_id} and {text.pad_token_id} "
                f"as config.json says, got {self.tokenizer.sep_token_id} and {self.tokenizer.pad_token_id}."
            )

    @property
    def cut(self) -> int:
        """See the class."""
        return len(self._cut)

    @property
    def notes(self) -> list[str]:
        """What a user should know of what was read."""
        longest = self.config.text_config.max_position_embeddings
        return [f"{self.cut} texts were longer than {longest} tokens and lost their end."] if self.cut else []

    def pixels(self, paths: Sequence[str | Path], frames: int | None = None) -> Tensor:
        """[items, 3, height, width] of images, or [items, frames, 3, height, width] of videos; float32.

        paths   as read_media() takes them; all images, or all videos
        frames  of a video; the config's num_frames by default. If given, images are videos that stand still

        Raises CalibrationError if one cannot be read, or for images among videos without frames.
        """
        if not paths:
            raise ConfigError("paths: expected one image or video at least, got none.")
        if frames is None:
            kinds = [is_video(path) for path in paths]
            if len(set(kinds)) > 1:
                raise CalibrationError(
                    f"{paths[kinds.index(not kinds[0])]}: {'an image' if kinds[0] else 'a video'} among "
                    f"{'videos' if kinds[0] else 'images'}. Give images and videos in batches of their own."
                )
            if not kinds[0]:
                return torch.stack([self.image(path) for path in paths])
        return torch.stack([self.video(path, frames) for path in paths])

    def image(self, path: str | Path) -> Tensor:
        """[3, height, width] float32 of an image, or of the frame in the middle of a video."""
        return self.video(path, 1)[0]

    def video(self, path: str | Path, frames: int | None = None) -> Tensor:
        """[frames, 3, height, width] float32 of a video, or of an image that stands still."""
        from PIL import Image

        wanted = frames or self.config.vision_config.num_frames
        pictures = [Image.fromarray(one) for one in read_media(path, wanted)]
        size = self.config.vision_config.image_size
        try:
            pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        except Exception as error:
            raise CalibrationError(f"{path}: the model's processor does not take it ({in_one_line(error)}).") from None
        if tuple(pixels.shape[1:]) != (3, size, size):
            raise CheckpointError(
                f"{path}: the model takes {size} x {size} pixels, but its processor gives {list(pixels.shape[1:])}. "
                "Mend preprocessor_config.json."
            )
        return pixels.float()  # type: ignore[no-any-return]

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask [texts, tokens] int64: [CLS] … [SEP], padded to the longest of them.

        Texts longer than the model takes lose their end and count as cut. What looks like a special token, such as
        [SEP], is read as letters.
        """
        if not texts:
            raise ConfigError("texts: expected one at least, got none.")
        longest = self.config.text_config.max_position_embeddings
        ids = self.tokenizer(list(texts), split_special_tokens=True, verbose=False)["input_ids"]
        self._cut.update(text for text, row in zip(texts, ids, strict=True) if len(row) > longest)
        end, pad = self.config.text_config.sep_token_id, self.config.text_config.pad_token_id
        ids = [row if len(row) <= longest else [*row[: longest - 1], end] for row in ids]
        lengths = torch.tensor([len(row) for row in ids])
        width = int(lengths.max())
        padded = torch.tensor([row + [pad] * (width - len(row)) for row in ids], dtype=torch.int64)
        return padded, (torch.arange(width) < lengths[:, None]).long()

    def decode(self, ids: Tensor) -> list[str]:
        """The texts of token ids [texts, tokens] that generate() wrote: from behind the first token to [SEP]."""
        end, texts = self.config.text_config.sep_token_id, []
        for row in ids[:, 1:].tolist():
            row = row[: row.index(end)] if end in row else row
            special = {self.config.dec_token_id, self.config.enc_token_id}
            kept = [token for token in row if token not in special]
            texts.append(self.tokenizer.decode(kept, skip_special_tokens=True).strip())
        return texts


def _config(folder: Path) -> OmniVLConfig:
    from transformers import AutoConfig

    from ...models import register

    register()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a stranger's JSON fails in many ways
        raise CheckpointError(f"{folder}: holds no config of OmniVL ({in_one_line(error)}).") from None
    if not isinstance(config, OmniVLConfig):
        raise CheckpointError(f"{folder}: expected a model of type omnivl, got {config.model_type}.")
    return config


def make_inputs(
    folder: str | Path, texts: Iterable[str], *, image_size: int, vocabulary: int = VOCABULARY,
    bert: str | Path | None = None, vit: str | Path | None = None,
) -> Any:  # fmt: skip
    """Write a tokenizer and an image processor into a folder, for a model that begins. Returns the tokenizer.

    texts       that the tokenizer is to spell in few tokens; it can spell any other
    image_size  pixels of a side
    vocabulary  tokens at the most, of which 256 are bytes
    bert        folder of a BERT, whose tokenizer is taken instead
    vit         folder of a ViT, whose means and deviations of pixels are taken; 0.5 else

    The last two tokens are [DEC] and [ENC], as config_of_parts() wants them. Raises CheckpointError if a part does not
    load.
    """
    folder = Path(folder)
    tokenizer = _new_tokenizer(texts, vocabulary) if bert is None else load_tokenizer(Path(bert))
    if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id):
        raise CheckpointError(f"{bert}: its tokenizer lacks one of {CLS}, {SEP}, {PAD}. Give the folder of a BERT.")
    if tokenizer.add_tokens([DEC, ENC], special_tokens=True) != 2:
        raise CheckpointError(f"{bert}: its tokenizer has {DEC} or {ENC} already. Give the folder of a BERT.")
    tokenizer.save_pretrained(folder)
    _new_processor(image_size, None if vit is None else load_processor(Path(vit))).save_pretrained(folder)
    return tokenizer


def _new_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer with BERT's names of special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary - 2, special_tokens=[PAD, SEP, CLS], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", special_tokens=[(token, bpe.token_to_id(token)) for token in (CLS, SEP)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, cls_token=CLS, sep_token=SEP, pad_token=PAD)


def _new_processor(size: int, like: Any) -> Any:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        do_resize=True, size={"shortest_edge": size}, do_center_crop=True, crop_size={"height": size, "width": size},
        do_rescale=True, do_normalize=True, image_mean=getattr(like, "image_mean", None) or [0.5] * 3,
        image_std=getattr(like, "image_std", None) or [0.5] * 3,
    )  # fmt: skip
