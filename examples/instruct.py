"""Say not only what to speak, but how."""

import sys

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.audio import write_wav

model, prompt, instruction, text, out = sys.argv[1:]

tts = CosyVoice2.load(model)
voice = tts.clone(prompt)  # an instruction needs no transcript
write_wav(out, tts.synthesize(text, voice, instruction=instruction), tts.sample_rate, force=True)
