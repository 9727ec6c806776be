"""Text as SigLIP was trained on it; transformers leaves this to its callers, and accuracy falls silently without."""

import re
import string

SIGLIP = ("siglip", "siglip2")
SIGLIP_TOKENS = 64  # that every text is padded to
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def canonicalised(text: str) -> str:
    """Lower case, _ as a space, without punctuation and spare spaces, as the training code of SigLIP has it."""
    return re.sub(r"\s+", " ", text.replace("_", " ").translate(_PUNCTUATION).lower()).strip()
