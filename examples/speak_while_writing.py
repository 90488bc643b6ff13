"""Speak a text while it is still being written: here lines from standard input, else the output of a language model."""

import sys

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.audio import open_audio

model, prompt, transcript, out = sys.argv[1:]

tts = CosyVoice2.load(model)
voice = tts.clone(prompt, transcript)
pieces = iter(sys.stdin.readline, "")  # any iterable of str will do
with open_audio(out, tts.sample_rate, force=True) as file, tts.stream(pieces, voice) as stream:
    for chunk in stream:
        file.write(chunk)
print(f"{stream.metrics.audio_seconds:.1f} s of audio in {stream.metrics.segments} utterances")
