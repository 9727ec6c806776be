"""The truth of packed codes and bitmasks: strings of 0 and 1, written lowest bit first."""

import numpy as np


def _to_bytes(text, count):
    """The first byte is the first eight characters, its lowest bit the first."""
    text = text.ljust(8 * count, "0")
    return [int(text[i : i + 8][::-1], 2) for i in range(0, 8 * count, 8)]


def _to_text(octets):
    return "".join(f"{int(octet):08b}"[::-1] for octet in octets)


def pack_codes(codes, bits):
    """Rows of codes, `bits` bits each, filled up to whole words of 4 bytes."""
    rows, cols = codes.shape
    count = -(-cols * bits // 32) * 4
    packed = np.zeros((rows, count), dtype=np.uint8)
    for r, row in enumerate(codes):
        packed[r] = _to_bytes("".join(f"{int(code):08b}"[::-1][:bits] for code in row), count)
    return packed


def unpack_codes(packed, bits, cols):
    codes = np.zeros((len(packed), cols), dtype=np.uint8)
    for r, row in enumerate(packed):
        text = _to_text(row)
        codes[r] = [int(text[c * bits : (c + 1) * bits][::-1], 2) for c in range(cols)]
    return codes


def pack_bitmask(values, mask):
    """(bitmask, the values kept)."""
    rows, cols = values.shape
    bitmask = np.zeros((rows, -(-cols // 8)), dtype=np.uint8)
    for r, row in enumerate(mask):
        bitmask[r] = _to_bytes("".join("01"[int(keep)] for keep in row), bitmask.shape[1])
    kept = [values[r, c] for r in range(rows) for c in range(cols) if mask[r, c]]
    return bitmask, np.array(kept, dtype=values.dtype)


def unpack_bitmask(bitmask, kept, cols):
    dense, remaining = np.zeros((len(bitmask), cols), dtype=kept.dtype), iter(kept)
    for r, row in enumerate(bitmask):
        text = _to_text(row)
        for c in range(cols):
            if text[c] == "1":
                dense[r, c] = next(remaining)
    return dense
