"""Makes `python -m lsmbench` the same as `lsmbench`."""

from lsmbench.cli import main

if __name__ == "__main__":
    main()
