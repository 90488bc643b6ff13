"""The sizes of the nano checkpoint: the published ones, but for what `nano.json` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reference.synthetic.sizes import FULL, changed

NANO: dict[str, Any] = changed(FULL, json.loads(Path(__file__).with_name("nano.json").read_text(encoding="utf-8")))
