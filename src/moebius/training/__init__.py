"""Training: photos, masks, the training loops, checkpoints. `python -m moebius.training --help`."""
