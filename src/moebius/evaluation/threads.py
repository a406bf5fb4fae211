"""How many threads the libraries of this process use. Only commands set it, never the package by itself."""

from __future__ import annotations


def one_thread() -> None:
    """One thread in torch and OpenCV: workers share out the cores, and sums repeat to the last bit."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
