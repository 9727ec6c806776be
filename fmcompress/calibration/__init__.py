"""Running a model block by block over calibration text, and gathering Hessians."""

from .hessian import TILE_COLS, Group, HessianCollector, accumulate_hessian_, symmetrise_
from .streamed_model import Batch, StreamedModel
from .text import check_text, cut_windows, encode_prompt, load_tokenizer, read_documents, sample_windows, token_stream

__all__ = [
    "TILE_COLS",
    "Batch",
    "Group",
    "HessianCollector",
    "StreamedModel",
    "accumulate_hessian_",
    "check_text",
    "cut_windows",
    "encode_prompt",
    "load_tokenizer",
    "read_documents",
    "sample_windows",
    "symmetrise_",
    "token_stream",
]
