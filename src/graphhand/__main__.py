"""``python -m graphhand``: the command line where only a module can be started, as by torchrun."""

from graphhand.cli import main

if __name__ == "__main__":
    main()
