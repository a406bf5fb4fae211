"""On PYTHONPATH of a process: torchvision counts as not installed there.

One that was built for another torch breaks transformers, which diffusers imports; neither needs it.
"""

import sys

sys.modules["torchvision"] = None  # type: ignore[assignment]
