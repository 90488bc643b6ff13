"""When a stream speaks: how many tokens each hop of an utterance speaks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hops:
    """The official hops (`cosyvoice.cli.model.CosyVoice2Model.tts`), in speech tokens of 40 ms.

    Hops grow, so that the first sound comes early and later work is not done too often. Every utterance starts anew;
    upstream keeps the grown hop of one utterance for the next, which only makes that one's first sound late.

    Attributes:
        chunk: tokens of the flow's attention chunks. The first hop ends on a border of these, and so do all others.
        growth: every hop is this many times the one before ...
        longest: ... up to this many tokens.
        lookahead: tokens after a hop that the flow has to see before it can speak the hop.
    """

    chunk: int = 25
    growth: int = 2
    longest: int = 100
    lookahead: int = 3

    def __post_init__(self) -> None:
        for name in ("chunk", "growth", "longest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.lookahead < 0:
            raise ValueError(f"lookahead must be at least 0, not {self.lookahead}")
        if self.longest % self.chunk:
            raise ValueError(f"longest ({self.longest}) must be a multiple of chunk ({self.chunk})")

    def hop(self, number: int, prompt_tokens: int) -> int:
        """Tokens that hop `number` (from 0) of an utterance speaks, after a prompt of `prompt_tokens` tokens.

        Raises:
            ValueError: a negative argument.
        """
        for name, value in (("number", number), ("prompt_tokens", prompt_tokens)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        size = min(self.longest, self.chunk * self.growth ** min(number, self.longest))
        return size + -prompt_tokens % self.chunk if number == 0 else size

    def plan(self, tokens: int, prompt_tokens: int) -> list[int]:
        """The hops of an utterance of `tokens` tokens, the last one with full attention; never empty.

        A hop takes place as soon as its tokens and the lookahead are there, so the last one holds at least the
        lookahead, unless it is the only one.
        """
        hops: list[int] = []
        while True:
            hop, rest = self.hop(len(hops), prompt_tokens), tokens - sum(hops)
            if rest < hop + self.lookahead:
                return [*hops, rest]
            hops.append(hop)
