"""Benchmarks: grids of runs over methods × N × seeds, and the reports made from what they leave on disk."""
