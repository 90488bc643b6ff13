"""Keep the words and the rhythm of one recording, and take the voice of another."""

import sys

import numpy as np

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.audio import write_wav

model, prompt, source, out = sys.argv[1:]

tts = CosyVoice2.load(model)
voice = tts.clone(prompt)
write_wav(out, np.concatenate(list(tts.convert_voice(source, voice))), tts.sample_rate, force=True)
