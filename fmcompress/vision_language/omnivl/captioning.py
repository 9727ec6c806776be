"""Captions of images and videos by the generation decoder: greedy, by beams, or drawn."""

from collections.abc import Sequence

from torch import Tensor

from ...errors import ConfigError
from ...language_model.sampling import Draw, generator_of
from .loaded import Medium, OmniVL, Progress, silent

MAX_TOKENS = 30


def write_captions(
    model: OmniVL, media: Sequence[Medium], *, prompt: str = "", beams: int = 1, temperature: float = 0.0,
    top_p: float = 0.9, seed: int = 0, max_tokens: int = MAX_TOKENS, progress: Progress = silent,
) -> list[str]:  # fmt: skip
    """A caption of each image or video.

    prompt       what each begins with
    beams        1 is greedy
    temperature  0 takes the likeliest; above, tokens are drawn from the likeliest that have a mass of top_p together
    seed         of what is drawn: the same caption for a file's name, whatever else is asked. No global generator moves

    Raises ConfigError for settings that do not fit, CalibrationError for a file that cannot be read.
    """
    _check(beams, temperature, top_p, max_tokens)
    begun = _begun(model, prompt)
    room = model.inputs.config.text_config.max_position_embeddings - (1 if begun is None else begun.shape[1])
    if room < 2:  # a token and the end; a longer prompt was cut
        raise ConfigError("prompt: leaves no room for a caption. Shorten it.")
    captions = [""] * len(media)
    for rows, seen in model.seen(media, progress):
        ids = None if begun is None else begun.expand(len(rows), -1)
        drawn = [generator_of(media[row].path.name, 0, seed) for row in rows] if temperature else []
        written = model.model.write(
            seen.last_hidden_state, input_ids=ids, do_sample=False, num_beams=beams,
            max_new_tokens=min(room, max_tokens),
            logits_processor=[Draw(drawn, temperature, top_p)] if drawn else [],
        )  # fmt: skip
        for row, text in zip(rows, model.inputs.decode(written), strict=True):
            captions[row] = text
    return captions


def _begun(model: OmniVL, prompt: str) -> Tensor | None:
    """[1, tokens] of a prompt without the token that ends a text."""
    return model.tokens([prompt])[0][:, :-1] if prompt.strip() else None


def _check(beams: int, temperature: float, top_p: float, max_tokens: int) -> None:
    if beams < 1 or max_tokens < 1:
        raise ConfigError(f"beams, max tokens: expected 1 or more, got {beams} and {max_tokens}.")
    if not 0 <= temperature < float("inf"):
        raise ConfigError(f"temperature: expected 0 or more, got {temperature}.")
    if not 0 < top_p <= 1:
        raise ConfigError(f"top p: expected a number above 0, up to 1, got {top_p}.")
    if temperature and beams > 1:
        raise ConfigError("beams: are for the likeliest text, temperature draws one. Leave one of them out.")
