"""`python -m ldm_sep`: the command `ldm-sep`."""

from ldm_sep.cli import main

if __name__ == "__main__":
    main()
