"""``python -m graphhand``, the same as ``graphhand``; torchrun starts processes this way."""

from graphhand.cli import main

main()
