"""The stages of the pipeline, in data-flow order."""

from collections.abc import Collection, Sequence

from parity.stages.base import Outputs, Settings, Sides, Stage
from parity.stages.features import AudioFeatures
from parity.stages.flow import FlowDecoder, FlowEncoder
from parity.stages.llm import LanguageModel
from parity.stages.speaker_encoder import SpeakerEncoder
from parity.stages.speech_tokenizer import SpeechTokenizer
from parity.stages.streaming import Streaming
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
    Streaming(),
)


def stages_of(components: Collection[str]) -> list[Stage]:
    """The stages of a family that has these components, in data-flow order.

    What the others would give has to be among the inputs of a run.
    """
    components = {"", TextTokenizer.component, *components}
    return [stage for stage in STAGES if stage.component in components]


def choose_stages(names: Sequence[str] | None, settings: Settings, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """Those of `stages` that have these names; None for all that exist in this mode.

    Raises:
        ValueError: a stage that does not exist, or does not without streaming.
    """
    known = [stage.name for stage in stages]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"no such stage: {', '.join(unknown)}; there are: {', '.join(known)}")
    chosen = [stage for stage in stages if not names or stage.name in names]
    if settings.streaming:
        return chosen
    absent = [stage.name for stage in chosen if stage.streaming_only]
    if names and absent:
        raise ValueError(f"{', '.join(absent)}: there is no such stage without streaming (pass --streaming)")
    return [stage for stage in chosen if not stage.streaming_only]


__all__ = ["STAGES", "Outputs", "Settings", "Sides", "Stage", "choose_stages", "stages_of"]
