"""python -m moebius: the command line, for launchers that start modules."""

from moebius.cli import main

main()
