"""lsmbench: which domain-translation method to use when only N % of the data is paired."""

__version__ = "0.1.0"
