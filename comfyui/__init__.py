"""The Moebius nodes for ComfyUI. All they do is in the package `moebius-inpaint` (`moebius.integrations.comfyui`)."""

try:
    from moebius.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from moebius.integrations.comfyui_host import register_model_folder
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] != "moebius":
        raise
    raise ImportError(
        "the Moebius nodes need the package moebius-inpaint in ComfyUI's own Python: "
        "python -m pip install -r requirements.txt"
    ) from error

register_model_folder()

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
