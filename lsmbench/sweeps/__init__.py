"""Sweeps: searches for the hyper-parameters of a benchmark's rows, whose trials are runs."""
