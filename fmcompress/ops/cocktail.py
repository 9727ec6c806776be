"""CocktailSGD's compression (Wang et al., ICML 2023): sampled blocks, the largest elements of each, a few bits a value.

What a payload holds is specified in docs/wire-format.md; the same bytes come from every back-end."""

from torch import Tensor

from .._ops import Layout
from .dispatch import run


def compress_gradient_(gradient: Tensor, residual: Tensor | None, layout: Layout, *, scale: float = 1.0) -> Tensor:
    """Compress gradient * scale + residual; what is not sent stays in the residual (error feedback).

    With a = gradient * scale + residual, rounded to float32 once each, and D what the payload decodes to, the
    residual becomes a - D, rounded to its own dtype. In float32 a - D is exact, so D + residual = a bit for bit,
    wherever D is between half and twice of a (Sterbenz); elsewhere, such as for the lowest codes of coarse
    sign-and-magnitude grids and for 1 bit, it is rounded once.

    gradient  [numel] float32, bfloat16 or float16, neighbours in memory
    residual  [numel] float32 or bfloat16, changed; None: what is not sent is forgotten
    layout    which blocks, how many elements of each, how many bits
    scale     of the gradient, such as 1 over a loss scale
    returns   [layout.payload_bytes] uint8

    Where gradient * scale has an infinity or NaN, the payload says so and decodes to NaN, and the residual stays.
    Raises ValueError if shapes, dtypes or the layout do not fit.
    """
    return run("compress_gradient_", gradient, residual, scale, *layout)  # type: ignore[no-any-return]


def compress_delta_(local: Tensor, shared: Tensor, layout: Layout) -> Tensor:
    """Compress local - shared in the sampled blocks, and take what is sent from `local`; the rest stays there.

    local    [numel] float32, bfloat16 or float16, changed in the sampled blocks
    shared   [numel] alike, the copy of the model that all workers share
    returns  [layout.payload_bytes] uint8

    Where the difference has an infinity or NaN, the payload says so, and `local` stays. Raises ValueError if shapes,
    dtypes or the layout do not fit.
    """
    return run("compress_delta_", local, shared, *layout)  # type: ignore[no-any-return]


def compress_mean_(payloads: Tensor, residual: Tensor | None, numel: int, layout: Layout) -> Tensor:
    """The server's part: decode payloads of one layout, take their mean in that order, add its residual, compress.

    payloads  [workers, layout.payload_bytes] uint8
    residual  [numel] float32 or bfloat16, changed in the sampled blocks; None: what is not sent is forgotten
    returns   [layout.payload_bytes] uint8

    Where one payload decodes to NaN, so does the result, and the residual stays. Raises ValueError if shapes, dtypes or
    the layout do not fit, and on a CPU if a mask has another number of bits than `layout.kept`.
    """
    return run("compress_mean_", payloads, residual, numel, *layout)  # type: ignore[no-any-return]


def add_payload_(payload: Tensor, out: Tensor, layout: Layout, *, scale: float = 1.0) -> None:
    """out += scale * what the payload decodes to; NaN everywhere if it holds no numbers.

    payload  [layout.payload_bytes] uint8; its header is not looked at but for the flags
    out      [numel] float32, bfloat16 or float16, changed

    Raises ValueError if shapes, dtypes or the layout do not fit, and on a CPU if a mask has another number of bits than
    `layout.kept`; no byte outside of the tensors is touched in any case.
    """
    run("add_payload_", payload, out, scale, *layout)


def payload_checksum(payload: Tensor) -> Tensor:
    """The checksum that belongs into a payload, whatever stands there now.

    payload  [bytes] uint8, a header at least and whole words
    returns  [1] int64

    Raises ValueError if shape or dtype do not fit.
    """
    return run("payload_checksum", payload)  # type: ignore[no-any-return]
