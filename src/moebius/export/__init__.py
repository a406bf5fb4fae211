"""Export: networks wrapped from outside, as ONNX graphs and model folders. Needs the extra `[export]`."""
