"""python -m moebius.export: a model folder from training checkpoints."""

from moebius.export.bundle import main

main()
