"""Distilling step-by-step (Hsieh et al. 2023): a small student learns a teacher's answers and its reasons."""
