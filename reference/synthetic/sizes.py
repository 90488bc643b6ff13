"""The two sizes in which synthetic checkpoints and golden numbers come, from a JSON file for each family.

Fields bear the official names of the family's YAML and of `CosyVoice-BlankEN/config.json`; every `build` of this
package accepts one of these mappings.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` with other values at some leaves."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        result[key] = changed(base[key], value) if isinstance(value, Mapping) else value
    return result


def read_sizes(model_type: str) -> dict[str, dict[str, Any]]:
    """The sizes of a family: "full", as published, and "tiny".

    That is the same network, narrow and shallow: small enough for every test. CAM++ stays whole. The file has what
    differs.
    """
    file = json.loads(Path(__file__).with_name(f"{model_type}.json").read_text(encoding="utf-8"))
    return {"tiny": changed(file["full"], file["tiny"]), "full": file["full"]}


#: Of CosyVoice2, and of CosyVoice3.
SIZES, SIZES3 = read_sizes("cosyvoice2"), read_sizes("cosyvoice3")

#: CosyVoice2-0.5B as published, and its tiny twin.
FULL, TINY = SIZES["full"], SIZES["tiny"]
