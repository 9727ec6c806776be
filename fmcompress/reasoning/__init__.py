"""Selection-Inference (Creswell et al. 2022): answers by steps that each show what they were drawn from."""
