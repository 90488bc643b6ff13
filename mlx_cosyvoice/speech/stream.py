"""Audio, chunk by chunk."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding import Decoder, SourceNoise, decode
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.speech.ahead import ClosedError, RunAhead
from mlx_cosyvoice.speech.metrics import Metrics
from mlx_cosyvoice.speech.randomness import segment_keys
from mlx_cosyvoice.speech.sources import refuse_to_block
from mlx_cosyvoice.turns import check_not_forked, turn

#: Gives the speech tokens of each utterance; called on a thread of its own.
TokenSource = Callable[[Metrics], Iterable[Iterable[int]]]


class SpeechStream(Iterator[np.ndarray]):
    """Iterates over chunks of audio, float32 [samples] in [-1, 1].

    A chunk is computed when it is asked for, by whichever thread asks; the language model runs ahead on a thread of its
    own. `close` (or the end of a `with` block, or of the iteration) ends that thread. `async for` leaves the event loop
    free while a chunk is computed.

    Attributes:
        sample_rate: in Hz.
        metrics: what was measured so far.
    """

    def __init__(
        self,
        utterances: TokenSource,
        decoder: Decoder,
        prompt: Prompt,
        *,
        seed: int,
        source_noise: Callable[[mx.array], SourceNoise],
        sample_rate: int,
        text_loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.sample_rate = sample_rate
        self.metrics = metrics = Metrics()
        self._text_loop = text_loop
        self._began = time.perf_counter()
        # Neither the thread nor the generator knows this object: a stream that nobody holds any more ends its thread.
        self._tokens = RunAhead(lambda: utterances(metrics))
        self._chunks = _chunks(self._tokens, decoder, prompt, _noises(segment_keys(seed), source_noise), metrics)
        self._one_at_a_time = threading.Lock()

    def __next__(self) -> np.ndarray:
        check_not_forked()
        refuse_to_block(self._text_loop)
        try:
            with self._one_at_a_time:
                chunk = next(self._chunks)
        except ClosedError:
            raise StopIteration from None
        except BaseException:
            self.close()
            raise
        metrics = self.metrics
        metrics.seconds = time.perf_counter() - self._began
        if metrics.first_chunk_seconds is None:
            metrics.first_chunk_seconds = metrics.seconds
        metrics.chunks += 1
        metrics.audio_seconds += len(chunk) / self.sample_rate
        return chunk

    def __aiter__(self) -> SpeechStream:
        return self

    async def __anext__(self) -> np.ndarray:
        chunk = await asyncio.to_thread(next, self, None)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_tokens"):
            self.close()

    def close(self) -> None:
        """End early: no further chunk is computed. Harmless when all is done; may be called in any thread.

        Where another thread waits for a chunk, it gets the one that is being computed, or the end of the iteration.
        """
        self._tokens.close()


def _noises(
    keys: Iterator[tuple[mx.array, mx.array]], source_noise: Callable[[mx.array], SourceNoise]
) -> Iterator[SourceNoise]:
    """The draws of the vocoder for each utterance."""
    while True:
        with turn():
            _, key = next(keys)
        yield source_noise(key)


def _chunks(
    ahead: RunAhead, decoder: Decoder, prompt: Prompt, noises: Iterator[SourceNoise], metrics: Metrics
) -> Iterator[np.ndarray]:
    for tokens, noise in zip(ahead.utterances(), noises, strict=False):
        for chunk in decode(decoder, prompt, noise, _counted(tokens, metrics)):
            # To read an array is a call of MLX too: a thread within one when Python ends aborts the process.
            with turn():
                samples = np.array(chunk)
            yield samples
        metrics.segments += 1
    if not metrics.segments:
        raise ValueError("nothing to say: the text is empty")
    if not metrics.chunks:
        raise ValueError("the language model stopped at once: raise min_token_text_ratio, or try another seed")


def _counted(tokens: Iterator[int], metrics: Metrics) -> Iterator[int]:
    for token in tokens:
        metrics.speech_tokens += 1
        yield token
