"""Which code of the package may become a mutant: what computes the numbers of a model, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

#: Files with numeric code that the stages of parity reach.
FILES = (
    *(f"mlx_cosyvoice/{part}/*.py" for part in ("llm", "flow", "vocoder", "speech_tokenizer", "speaker_encoder")),
    *(f"mlx_cosyvoice/{part}/*.py" for part in ("nn", "nn/cpu", "decoding", "decoding/incremental")),
    *(f"mlx_cosyvoice/audio/{name}.py" for name in ("fbank", "filters", "framing", "log_mel", "mel")),
)

_OTHER_FAMILY = "CosyVoice3's, and mutants are made of CosyVoice2"

#: Files among them without numeric code, and why.
LEFT_OUT = {
    "mlx_cosyvoice/nn/official.py": "the rules of conversion, by which the harness lays out arrays as well",
    "mlx_cosyvoice/nn/backend.py": "chooses between two forms that compute the same",
    "mlx_cosyvoice/nn/cpu/threads.py": "divides work among threads",
    "mlx_cosyvoice/llm/drawing.py": "the sampler in the form of a GPU, which a CPU does not run",
    "mlx_cosyvoice/llm/uniforms.py": "draws by a seed, for which upstream has no counterpart",
    **{
        f"mlx_cosyvoice/{name}.py": _OTHER_FAMILY
        for name in (
            *(f"flow/{part}" for part in ("dit", "dit_block", "flow_dit", "rotary")),
            *(f"vocoder/causal_{part}" for part in ("conv", "f0_predictor", "generator", "source")),
            *("decoding/causal_vocoder", "llm/cosyvoice3_lm"),
        )
    },
}

#: Functions that say how much memory is held or how tensors are converted, or only refuse.
_OTHER_FUNCTIONS = ("__repr__", "nbytes", "arrays", "unused", "rules", "folded_weight_norm")
_REFUSING = ("_check", "check_", "_refuse")
#: Keywords that say how much memory is made at a time.
_ROOM = ("capacity", "room")
#: Statements that say when something is computed, not what.
_WHEN = ("eval", "async_eval", "clear_cache", "synchronize", "warn")


def files(root: Path) -> list[str]:
    """Paths from the checkout's root, sorted."""
    found = {path.relative_to(root).as_posix() for pattern in FILES for path in root.glob(pattern)}
    return sorted(found - set(LEFT_OUT))


def numeric_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of code that computes: no annotations, docstrings, errors, and tests that lead to nothing but these."""
    for child in _numeric_children(tree):
        if not _other(child):
            yield child
            yield from numeric_nodes(child)


def _numeric_children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases"):
            continue
        yield from (child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST))


def _other(node: ast.AST) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name in _OTHER_FUNCTIONS or node.name.startswith(_REFUSING)
    if isinstance(node, ast.If):
        return all(isinstance(one, ast.Raise) for one in node.body) or "TYPE_CHECKING" in ast.dump(node.test)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or called(node.value) in _WHEN
    if isinstance(node, ast.keyword):
        return is_room(node)
    if isinstance(node, ast.Call):
        return called(node) in ("TypeVar", "isinstance", "cast") or called(node).startswith(_REFUSING)
    return isinstance(node, (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr))


def is_room(keyword: ast.keyword) -> bool:
    """Whether an argument changes how much memory is made, and no number."""
    return keyword.arg in _ROOM


def called(node: ast.AST) -> str:
    """The last name of what is called; "" where nothing is."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))
