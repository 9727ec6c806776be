"""Models and pipelines that describe what is seen: Visual Clues (BEST) and OmniVL."""
