"""The two sizes in which synthetic checkpoints and golden numbers come, from `sizes.json`.

Fields bear the official names of `cosyvoice2.yaml` and of `CosyVoice-BlankEN/config.json`; every `build` of this
package accepts one of these mappings.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILE: dict[str, Any] = json.loads(Path(__file__).with_name("sizes.json").read_text(encoding="utf-8"))


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` with other values at some leaves."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        result[key] = changed(base[key], value) if isinstance(value, Mapping) else value
    return result


#: CosyVoice2-0.5B as published.
FULL: dict[str, Any] = _FILE["full"]

#: The same network, narrow and shallow: small enough for every test. CAM++ stays whole. The file has what differs.
TINY = changed(FULL, _FILE["tiny"])

SIZES = {"tiny": TINY, "full": FULL}
