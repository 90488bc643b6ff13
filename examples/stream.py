"""Take audio chunk by chunk, as soon as it is there."""

import sys

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.audio import open_audio

model, prompt, transcript, text, out = sys.argv[1:]

tts = CosyVoice2.load(model)
voice = tts.clone(prompt, transcript)
with open_audio(out, tts.sample_rate, force=True) as file, tts.stream(text, voice) as stream:
    for chunk in stream:
        file.write(chunk)
        print(f"{len(chunk) / tts.sample_rate:.2f} s of audio after {stream.metrics.seconds:.2f} s")
print(f"first chunk after {stream.metrics.first_chunk_seconds:.2f} s, {stream.metrics.chunks} chunks in all")
