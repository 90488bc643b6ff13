"""Which part of the pipeline the final error comes from: parts are swapped between the two sides."""

from parity.transplant.matrix import TransplantReport, transplant

__all__ = ["TransplantReport", "transplant"]
