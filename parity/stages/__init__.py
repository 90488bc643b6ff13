"""The stages of the pipeline, in data-flow order."""

from parity.stages.base import Outputs, Settings, Stage
from parity.stages.features import AudioFeatures
from parity.stages.flow import FlowDecoder, FlowEncoder
from parity.stages.llm import LanguageModel
from parity.stages.speaker_encoder import SpeakerEncoder
from parity.stages.speech_tokenizer import SpeechTokenizer
from parity.stages.text import TextTokenizer
from parity.stages.vocoder import Vocoder

STAGES: tuple[Stage, ...] = (
    TextTokenizer(),
    AudioFeatures(),
    SpeechTokenizer(),
    SpeakerEncoder(),
    LanguageModel(),
    FlowEncoder(),
    FlowDecoder(),
    Vocoder(),
)

__all__ = ["STAGES", "Outputs", "Settings", "Stage"]
