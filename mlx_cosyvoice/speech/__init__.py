"""From a text and a voice to chunks of audio: prompts, the language model that runs ahead, and the stream of chunks."""

from mlx_cosyvoice.speech.metrics import Metrics
from mlx_cosyvoice.speech.modes import MODES, choose_mode, flow_input, model_input
from mlx_cosyvoice.speech.stream import SpeechStream, TokenSource

__all__ = ["MODES", "Metrics", "SpeechStream", "TokenSource", "choose_mode", "flow_input", "model_input"]
