"""What a choice that saves time or memory costs: MLX beside MLX, which is no parity.

A lower precision of some layers (`ranking`), or a bounded state of incremental streaming (`streaming_state`). What
packing the weights costs is in `parity.quantization.packing`.
"""

from parity.drift.ranking import DriftReport, drift

__all__ = ["DriftReport", "drift"]
