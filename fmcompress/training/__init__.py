"""Training of models in memory: steps that depend on seed and number alone, in a folder that can go on."""
