"""python -m fmcompress."""

from .cli import main

main()
