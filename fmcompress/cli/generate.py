"""fmcompress generate."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from . import arguments as opt


@app.command()
def generate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a dense, packed or compressed-tensors checkpoint.")],
    prompt: Annotated[str, typer.Option(help="Text to continue; - reads standard input.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to add at the most.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token every time.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Draw from the likeliest tokens of so much mass.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from so many likeliest tokens; 0: from all.")] = 0,
    seed: Annotated[int, typer.Option(help="Which tokens are drawn.")] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the tokenizer's chat template.")] = False,
    device: opt.Device = "auto",
    dtype: opt.RunDtype = "auto",
    verify: opt.Verify = True,
    json: opt.Json = False,
) -> None:
    """Continue a text, and show it as it comes. Packed checkpoints run packed."""
    import sys
    import time

    from ..calibration import encode_prompt, load_tokenizer
    from ..report import err, print_json, show_text
    from ..runtime import load
    from ..runtime.generation import context_left, stream_text

    with err.status("loading"):
        model = load(checkpoint, device=device, dtype=dtype, verify=verify)  # its errors are the clearer ones
        tokenizer = load_tokenizer(checkpoint)
    text = sys.stdin.read() if prompt == "-" else prompt
    input_ids = encode_prompt(tokenizer, text, chat=chat)
    left = context_left(model, input_ids.shape[1])
    pieces: list[str] = []
    begin = time.perf_counter()
    continued = stream_text(
        model, tokenizer, input_ids, pieces.append if json else show_text,
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    new_tokens = continued.new_tokens
    if json:
        told = {"prompt": text, "text": "".join(pieces), "new_tokens": new_tokens, "seconds": seconds}
        print_json({**told, "decoded_by": continued.by, "notes": list(continued.notes)})
    else:
        show_text("\n")
    for note in continued.notes:
        err.print(note, soft_wrap=True, markup=False)
    if new_tokens == left and left < max_new_tokens:
        err.print(f"the model's context is full after {left} of {max_new_tokens} new tokens", soft_wrap=True)
