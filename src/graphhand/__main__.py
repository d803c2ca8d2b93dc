"""``python -m graphhand``: the command line as a module, for torchrun."""

from graphhand.cli import main

if __name__ == "__main__":
    main()
