"""`python -m kfcore`: the command, where its script is not on PATH."""

from kfcore.cli import main

main()
