"""The two ONNX files of a CosyVoice2 checkpoint, as official state dicts."""

from converters.onnx_campplus import campplus_config, read_campplus
from converters.onnx_graph import OnnxLayoutError
from converters.onnx_speech_tokenizer import read_speech_tokenizer

__all__ = ["OnnxLayoutError", "campplus_config", "read_campplus", "read_speech_tokenizer"]
