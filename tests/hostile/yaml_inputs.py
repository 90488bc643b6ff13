"""Hostile `cosyvoice2.yaml`: what is added to a valid one, and what stands in the place of its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.hostile.harness import Inputs

YAML = "cosyvoice2.yaml"
INPUTS = Inputs()

_LONG = "x" * 50_000
_BEYOND = "9" * 5000


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text, encoding="utf-8", errors="surrogatepass")


def _replace(path: Path, change: tuple[str, str]) -> None:
    old, new = change
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _laughs(depth: int, width: int) -> str:
    lines = [f"l{level}: [{', '.join([f'!ref <l{level + 1}>'] * width)}]" for level in range(depth)]
    return "\n".join([*lines, f"l{depth}: ha\n"])


INPUTS.add_each(YAML, "more", {
    "laughing-references": _laughs(7, 9),
    "wide-laughs": _laughs(3, 40),
    "chain-of-references": "".join(f"c{n}: !ref <c{n + 1}>\n" for n in range(400)) + "c400: 1\n",
    "circle": "a: !ref <b>\nb: [!ref <c>]\nc: !new:x.Y {z: !ref <a>}\n",
    "itself": "a: !ref <a> * 2\n",
    "growing-numbers": "".join(f"g{n}: !ref <g{n + 1}> * <g{n + 1}>\n" for n in range(7)) + "g7: 99999999999999\n",
    "huge-product": "a: !ref 1e300 * 1e300\n",
    "not-a-number": "a: .nan\nb: !ref <a> - 1\n",
    "digits-in-a-reference": f"a: !ref {_BEYOND} * {_BEYOND}\n",
    "division": "a: 0\nb: !ref 1 / <a>\n",
    "dots": "a: !ref ...... + 1\n",
    "long-reference": f"a: !ref <{_LONG}>\n",
    "reference-to-a-mapping": "a: !ref {b: 1}\n",
    "alias": "a: &x [1, 2]\nb: *x\n",
    "alias-bomb": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "merge-key": "a: {b: 1}\nc: {<<: {b: 2}}\n",
    "twice": "sample_rate: 24000\n",
    "twice-within": "a: {b: 1, b: 2}\n",
    "list-as-key": "? [1, 2]\n: 3\n",
    "nan-as-key": "{.nan: 1}: 1\n",
    "terminal-escape": 'a: !ref "<\\x1b[2J\\x1b]0;owned\\x07>"\n',
    "line-end-in-a-name": 'a: !ref "<one\\ntwo>"\n',
    "right-to-left": 'a: !ref "<\u202egnp.exe>"\n',
    "half-a-character": "a: \ud800\n",
    "call": "a: !!python/object/apply:os.system [true]\n",
    "name": "a: !!python/name:os.system\n",
    "module": "a: !!python/module:os\n",
    "include": "a: !include:/etc/passwd\n",
    "long-tag": f"a: !{_LONG} 1\n",
    "digits": f"a: {_BEYOND}\n",
    "hex-digits": f"a: 0x{'f' * 50_000}\n",
    "bits": f"a: 0b{'1' * 50_000}\n",
    "base-60": f"a: {':'.join(['1'] * 20_000)}\n",
    "base-60-fraction": f"a: {':'.join(['1'] * 400)}:1.5\n",
    "no-digits": "a: 0x_\n",
    "no-such-day": "a: 2001-99-99\n",
    "deep-list": f"a: {'[' * 3000}{']' * 3000}\n",
    "deep-mapping": f"a: {'{a: ' * 300}1{'}' * 300}\n",
    "deep-block": "a:\n" + "".join(" " * n + "-\n" for n in range(1, 300)),
    "deep-on-one-line": f"a: \n  {'- ' * 3000}x\n",
    "many-values": f"a: [{', '.join(['1'] * 20_000)}]\n",
    "many-keys": "".join(f"k{n}: \n" for n in range(9000)),
    "too-large": "# " + "x" * 200_000,
    "open-bracket": "a: [1, 2\n",
    "two-documents": "---\na: 1\n---\nb: 2\n",
    "tab": "a:\n\t- 1\n",
}, _append, "cosyvoice2.yaml")  # fmt: skip

INPUTS.add_each(YAML, "as", {
    "empty": b"",
    "list": b"- 1\n- 2\n",
    "text": b"hello",
    "binary": bytes(range(256)),
    "nul": b"a: \x00",
    "utf-16": "a: 1".encode("utf-16"),
    "web-page": b"<!DOCTYPE html><html><body>404</body></html>",
    "nothing-in-it": b"{}",
}, _whole, "cosyvoice2.yaml")  # fmt: skip

#: A value of the tiny file -> what stands in its place.
_VALUES: dict[str, tuple[str, str]] = {
    "billion-blocks": ("num_blocks: 1", "num_blocks: 1000000000"),
    "many-blocks": ("num_blocks: 1", "num_blocks: 100000"),
    "some-blocks": ("num_blocks: 1", "num_blocks: 500"),
    "two-blocks": ("num_blocks: 1", "num_blocks: 2"),
    "many-mid-blocks": ("num_mid_blocks: 2", "num_mid_blocks: 512"),
    "many-blocks-in-each": ("n_blocks: 1", "n_blocks: 512"),
    "no-blocks": ("num_blocks: 1", "num_blocks: 0"),
    "minus-blocks": ("num_blocks: 1", "num_blocks: -3"),
    "true-blocks": ("num_blocks: 1", "num_blocks: true"),
    "nan-blocks": ("num_blocks: 1", "num_blocks: .nan"),
    "half-a-block": ("num_blocks: 1", "num_blocks: 1.5"),
    "list-of-blocks": ("num_blocks: 1", "num_blocks: [1]"),
    "wide": ("linear_units: 128", "linear_units: 131072"),
    "wider": ("linear_units: 128", "linear_units: 1000000000000"),
    "digits": ("linear_units: 128", f"linear_units: {'9' * 39}"),
    "many-heads": ("num_heads: 2", "num_heads: 1024"),
    "no-heads": ("attention_heads: 8", "attention_heads: 0"),
    "mel-bands": ("out_channels: 80", "out_channels: 100000"),
    "channels": ("channels: [64]", "channels: [131072]"),
    "no-channels": ("channels: [64]", "channels: []"),
    "many-channels": ("channels: [64]", f"channels: [{', '.join(['64'] * 1000)}]"),
    "deep-channels": ("channels: [64]", "channels: [[[[64]]]]"),
    "no-ratio": ("mix_ratio: [5, 15]", "mix_ratio: []"),
    "ratio-of-zero": ("mix_ratio: [5, 15]", "mix_ratio: [0, 15]"),
    "ratio-of-zeros": ("mix_ratio: [5, 15]", "mix_ratio: [5, 0]"),
    "ratio-alone": ("mix_ratio: [5, 15]", "mix_ratio: 5"),
    "ratio-of-three": ("mix_ratio: [5, 15]", "mix_ratio: [5, 15, 25]"),
    "ratio-huge": ("mix_ratio: [5, 15]", "mix_ratio: [5, 100000000]"),
    "chunk-of-none": ("chunk_size: 25", "chunk_size: 0"),
    "chunk-below-none": ("chunk_size: 25", "chunk_size: -25"),
    "look-ahead": ("pre_lookahead_len: 3", "pre_lookahead_len: 100000000"),
    "nothing-is-likely": ("top_p: 0.8", "top_p: 0"),
    "more-than-all": ("top_p: 0.8", "top_p: 1e400"),
    "no-candidates": ("top_k: 25", "top_k: 0"),
    "guidance": ("inference_cfg_rate: 0.7", "inference_cfg_rate: -1"),
    "transform": ("n_fft: 16", "n_fft: 1000000"),
    "no-hop": ("hop_len: 4", "hop_len: 0"),
    "rates": ("upsample_rates: [8, 5, 3]", "upsample_rates: [8, 5, 0]"),
    "many-rates": ("upsample_rates: [8, 5, 3]", f"upsample_rates: [{', '.join(['2'] * 500)}]"),
    "kernels": ("upsample_kernel_sizes: [16, 11, 7]", "upsample_kernel_sizes: [16, 11]"),
    "dilations": ("resblock_dilation_sizes: [[1, 3, 5]", "resblock_dilation_sizes: [[1, 3, 1000000000]"),
    "harmonics": ("nb_harmonics: 8", "nb_harmonics: 1000000"),
    "silence": ("audio_limit: 0.99", "audio_limit: 0"),
    "slope": ("lrelu_slope: 0.1", "lrelu_slope: .inf"),
    "class": ("cosyvoice.llm.llm.Qwen2LM", "x" * 20_000),
    "unknown": ("    mix_ratio", f"    {'y' * 900}: {'z' * 20_000}\n    mix_ratio"),
    "unknown-laughs": ("    mix_ratio", "    extra: !ref <feat_extractor>\n    mix_ratio"),
    "plain-value": ("flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec", "flow:"),
}


def _value(path: Path, change: tuple[str, str]) -> Any:
    return _replace(path, change)


INPUTS.add_each(YAML, "value", _VALUES, _value, "cosyvoice2.yaml")
