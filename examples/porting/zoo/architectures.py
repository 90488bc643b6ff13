"""Which architectures of mlx-lm the zoo builds, which are another's, and which cannot be compared here."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from .configs.dense import DENSE
from .configs.experts import EXPERTS
from .configs.latent import LATENT
from .configs.multimodal import MULTIMODAL
from .configs.recurrent import RECURRENT
from .configs.windows import WINDOWS

#: Name of mlx-lm's file (or of the model type that it is one of several for) -> a tiny configuration in the spelling of
#: published checkpoints.
ARCHITECTURES: dict[str, dict[str, Any]] = {**DENSE, **WINDOWS, **EXPERTS, **LATENT, **RECURRENT, **MULTIMODAL}

#: Files of mlx-lm that only wrap or reuse the model of another file -> the architectures here that run that model.
SAME_AS: dict[str, tuple[str, ...]] = {
    "gemma3": ("gemma3_text",),
    "gemma4": ("gemma4_text",),
    "kimi_k25": ("deepseek_v3",),
    "kimi_vl": ("deepseek_v3",),
    "lfm2-vl": ("lfm2",),
    "minimax": ("minimax_m2",),
    "mistral3": ("ministral3", "mistral4"),
    "pixtral": ("mistral",),
    "qwen2_vl": ("qwen2",),
    "qwen3_vl": ("qwen3",),
    "qwen3_vl_moe": ("qwen3_moe",),
}

#: The reason for most of them.
NOT_IN_TRANSFORMERS = "transformers has no such model"

#: Files of mlx-lm that are language models and cannot be compared here -> why.
UNAVAILABLE: dict[str, str] = {
    **dict.fromkeys(
        [
            "Klear",
            "afm7",
            "baichuan_m1",
            "bailing_moe",
            "bailing_moe_linear",
            "deepseek",
            "deepseek_v41",
            "gear",
            "internlm2",
            "iquestloopcoder",
            "kimi_k3",
            "lille-130m",
            "longcat_flash_ngram",
            "mimo",
            "minicpm",
            "nanbeige",
            "nemotron-nas",
            "openelm",
            "phi3small",
            "phixtral",
            "plamo",
            "plamo2",
            "plamo3",
            "qwen",
            "rwkv7",
            "spark2_5",
            "talkie",
            "telechat3",
        ],
        NOT_IN_TRANSFORMERS,
    ),
    "bailing_hybrid": "its older kind, BailingMoeV2_5; transformers has the newer one alone, bailing_moe_v3",
    "bitnet": "its layers hold packed ternary weights alone, and transformers packs none without a quantizer",
    "muse_spark": "it computes in bfloat16 whatever the weights are, so there is no float32 to compare",
    "olmo": "it reads the first OLMo's own configuration and names; those of transformers' olmo are others",
    "prism_hadamard_qwen35": "qwen3_5 with weights that only exist quantized",
    "step3p5": "transformers has its configuration but no model",
}


def models_of_mlx_lm() -> list[str]:
    """Return the names of mlx-lm's files that hold a language model: those with a class or an import named Model."""
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("mlx-lm is not installed: pip install '.[zoo]'")
    named = re.compile(r"^class Model\(|^from \S+ import Model\b", re.MULTILINE)
    folder = Path(spec.origin).parent / "models"
    return sorted(path.stem for path in folder.glob("*.py") if named.search(path.read_text(encoding="utf-8")))


def left_out() -> list[str]:
    """Return mlx-lm's models that are in none of the tables above; after an update of mlx-lm these want a look."""
    return [name for name in models_of_mlx_lm() if name not in {*ARCHITECTURES, *SAME_AS, *UNAVAILABLE}]
