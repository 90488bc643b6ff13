"""The stages of the pipeline, in data-flow order."""

from collections.abc import Collection, Sequence

from parity.stages.base import STREAMING, Outputs, Settings, Sides, Stage
from parity.stages.base import Streaming as Streamed
from parity.stages.features import AudioFeatures
from parity.stages.flow import FlowDecoder, FlowEncoder
from parity.stages.flow_pieces import FlowLeftContext, FlowPieces
from parity.stages.generation import Generation
from parity.stages.incremental import Incremental
from parity.stages.llm import LanguageModel
from parity.stages.offline import Offline
from parity.stages.speaker_encoder import SpeakerEncoder
from parity.stages.speech import Speech
from parity.stages.speech_tokenizer import SpeechTokenizer
from parity.stages.streaming import Streaming
from parity.stages.text import TextTokenizer
from parity.stages.vocoder import LoudVocoder, Vocoder

STAGES: tuple[Stage, ...] = (
    TextTokenizer(),
    AudioFeatures(),
    SpeechTokenizer(),
    SpeakerEncoder(),
    Speech(),
    LanguageModel(),
    Generation(),
    FlowEncoder(),
    FlowDecoder(),
    Vocoder(),
    LoudVocoder(),
    Offline(),
    Streaming(),
    FlowPieces(),
    FlowLeftContext(),
    Incremental(),
)


def stages_of(components: Collection[str]) -> list[Stage]:
    """The stages of a family that has these components, in data-flow order.

    What the others would give has to be among the inputs of a run.
    """
    components = {"", TextTokenizer.component, *components}
    return [stage for stage in STAGES if stage.component in components]


def compared_in(streaming: Streamed | None) -> list[Stage]:
    """The stages that a kind of streaming changes; None: all that there are offline."""
    there = [stage for stage in STAGES if streaming in stage.modes]
    return there if streaming is None else [stage for stage in there if len(stage.modes) <= len(STREAMING)]


def choose_stages(names: Sequence[str] | None, settings: Settings, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """Those of `stages` that have these names; None for all that exist in this mode.

    Raises:
        ValueError: a stage that does not exist, or does not in this mode.
    """
    known = [stage.name for stage in stages]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"no such stage: {', '.join(unknown)}; there are: {', '.join(known)}")
    chosen = [stage for stage in stages if not names or stage.name in names]
    absent = [stage for stage in chosen if settings.streaming not in stage.modes]
    if names and absent:
        mode = f"with --streaming {settings.streaming}" if settings.streaming else "without --streaming"
        others = sorted({f"--streaming {one}" if one else "no --streaming" for one in absent[0].modes})
        raise ValueError(f"{absent[0].name}: there is no such stage {mode} (it exists with {' or '.join(others)})")
    return [stage for stage in chosen if stage not in absent]


__all__ = ["STAGES", "Outputs", "Settings", "Sides", "Stage", "choose_stages", "compared_in", "stages_of"]
