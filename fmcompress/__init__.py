"""fmcompress: prune and compress foundation models with native kernels."""

__version__ = "0.1.0"
