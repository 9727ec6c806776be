"""fmcompress reason: one file a command."""
