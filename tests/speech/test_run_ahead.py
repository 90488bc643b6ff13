"""The thread that makes tokens ahead of the audio, and text that arrives in pieces."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_cosyvoice.speech.ahead import ClosedError, RunAhead
from mlx_cosyvoice.speech.arriving import ArrivingText
from mlx_cosyvoice.text import TextTokenizer


def wait_for(condition: object, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.005)
    return False


def test_utterances_come_out_as_they_went_in() -> None:
    ahead = RunAhead(lambda: [[1, 2, 3], [], [4, 5]])
    assert [list(tokens) for tokens in ahead.utterances()] == [[1, 2, 3], [], [4, 5]]


def test_what_is_left_of_an_utterance_is_skipped() -> None:
    ahead = RunAhead(lambda: [[1, 2, 3], [4]])
    assert [next(tokens) for tokens in ahead.utterances()] == [1, 4]


def test_only_one_utterance_is_begun_early() -> None:
    begun: list[int] = []

    def utterances() -> Iterator[Iterator[int]]:
        for index in range(5):
            yield tokens(index)

    def tokens(index: int) -> Iterator[int]:
        begun.append(index)
        yield index

    ahead = RunAhead(utterances, ahead=1)
    taken = ahead.utterances()
    next(taken)
    assert wait_for(lambda: begun == [0, 1])
    time.sleep(0.05)
    assert begun == [0, 1]
    next(taken)
    assert wait_for(lambda: begun == [0, 1, 2])
    ahead.close()


def test_an_error_reaches_the_caller_after_what_came_before() -> None:
    def tokens() -> Iterator[int]:
        yield 7
        raise RuntimeError("no more")

    received = next(RunAhead(lambda: [tokens()]).utterances())
    assert next(received) == 7
    with pytest.raises(RuntimeError, match="no more"):
        next(received)


def test_an_error_before_the_first_utterance() -> None:
    def utterances() -> Iterator[list[int]]:
        raise ValueError("nothing to say")
        yield []

    with pytest.raises(ValueError, match="nothing to say"):
        next(RunAhead(utterances).utterances())


def test_close_ends_the_thread() -> None:
    def endless() -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 1

    before = threading.active_count()
    ahead = RunAhead(lambda: [endless()])
    received = next(ahead.utterances())
    assert [next(received) for _ in range(3)] == [1, 1, 1]
    ahead.close()
    assert wait_for(lambda: threading.active_count() <= before)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> TextTokenizer:
    return TextTokenizer.from_file(tiny_model / "tokenizer.json")


def spoken(tokenizer: TextTokenizer, pieces: object, token_max: int) -> list[str]:
    text = ArrivingText(pieces, tokenizer, token_max=token_max)  # type: ignore[arg-type]
    return [tokenizer.decode(list(ids), skip_special_tokens=False) for ids in text.utterances()]


def test_close_ends_a_wait_for_tokens() -> None:
    """While a text never comes, and whatever is still to be taken."""
    text_comes = threading.Event()

    def utterances() -> Iterator[Iterator[int]]:
        yield iter([1, 2])
        text_comes.wait()
        yield iter([3])

    ahead = RunAhead(utterances)
    taken = ahead.utterances()
    assert list(next(taken)) == [1, 2]
    closing = threading.Timer(0.05, ahead.close)
    closing.start()
    with pytest.raises(ClosedError):
        next(taken)
    closing.join()
    text_comes.set()


def test_a_long_text_is_cut_where_sentences_end(tokenizer: TextTokenizer) -> None:
    text = "One two three. Four 4.5 five! Six\nseven. Eight"
    assert spoken(tokenizer, text, token_max=1) == ["One two three.", "Four 4.5 five!", "Six\n", "seven.", "Eight"]
    assert spoken(tokenizer, [text], token_max=1) == ["One two three.", "Four 4.5 five!", "Six\n", "seven.", "Eight"]
    assert spoken(tokenizer, [text], token_max=500) == [text]


def test_chinese_is_cut_without_spaces(tokenizer: TextTokenizer) -> None:
    assert spoken(tokenizer, "你好。再见！", token_max=1) == ["你好。", "再见！"]


@pytest.mark.parametrize("pieces", [[], "", ["  ", "\n"]])
def test_nothing_arrives(tokenizer: TextTokenizer, pieces: object) -> None:
    assert spoken(tokenizer, pieces, token_max=5) == []


def test_pieces_must_be_texts(tokenizer: TextTokenizer) -> None:
    with pytest.raises(TypeError, match="must give str, not int"):
        spoken(tokenizer, ["a", 3], token_max=5)


@given(st.lists(st.text(alphabet="ab .!?\n。好", max_size=6), max_size=12), st.integers(1, 8))
def test_nothing_is_lost_but_blanks_between_utterances(
    tokenizer: TextTokenizer, pieces: list[str], token_max: int
) -> None:
    parts = spoken(tokenizer, pieces, token_max)
    rest = "".join(pieces)
    for part in parts:
        rest = rest.lstrip()
        assert rest.startswith(part)
        rest = rest[len(part) :]
    assert not rest.strip()
