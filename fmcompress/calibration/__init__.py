"""Running a model block by block over calibration text, images or pairs of both, and gathering Hessians."""

from .accumulate import TILE_COLS, accumulate_hessian_, symmetrise_
from .architecture import Stack, is_causal_lm, longest_sequence
from .batch import BATCH_TOKENS, Batch, share_equal
from .hessian import Group, HessianCollector, finish_groups
from .images import find_images, load_processor, read_image, sample_images
from .lazy_model import Reader
from .pairs import Pairs
from .places import Place
from .streamed_model import StreamedModel
from .text import check_text, cut_windows, encode_prompt, load_tokenizer, read_documents, sample_windows, token_stream

__all__ = [
    "BATCH_TOKENS",
    "TILE_COLS",
    "Batch",
    "Group",
    "HessianCollector",
    "Pairs",
    "Place",
    "Reader",
    "Stack",
    "StreamedModel",
    "accumulate_hessian_",
    "check_text",
    "cut_windows",
    "encode_prompt",
    "find_images",
    "finish_groups",
    "is_causal_lm",
    "load_processor",
    "load_tokenizer",
    "longest_sequence",
    "read_documents",
    "read_image",
    "sample_images",
    "sample_windows",
    "share_equal",
    "symmetrise_",
    "token_stream",
]
