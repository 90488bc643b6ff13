"""Clone a voice from a recording and speak a text with it."""

import sys

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.audio import write_wav

model, prompt, transcript, text, out = sys.argv[1:]

tts = CosyVoice2.load(model)
voice = tts.clone(prompt, transcript)
voice.save("voice.safetensors", force=True)  # Voice.load("voice.safetensors") is faster than cloning again
write_wav(out, tts.synthesize(text, voice, seed=0), tts.sample_rate, force=True)
