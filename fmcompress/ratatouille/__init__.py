"""Model Ratatouille (Ramé et al. 2023): weights of diverse fine-tunings recycled and averaged, and diagnostics."""
