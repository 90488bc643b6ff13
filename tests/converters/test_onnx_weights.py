"""Reading ONNX files: whatever an exporter numbers or shares, and every file that must be refused."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from converters.checkpoint import Source
from converters.onnx_campplus import campplus_config, read_campplus
from converters.onnx_graph import OnnxLayoutError, module_of
from converters.onnx_speech_tokenizer import read_speech_tokenizer
from mlx_cosyvoice.config import SpeakerEncoderConfig, SpeechTokenizerConfig
from reference import campplus, speech_tokenizer
from reference.synthetic import recipe
from reference.synthetic.onnx_campplus import write_campplus
from reference.synthetic.onnx_speech_tokenizer import write_speech_tokenizer
from tests.support.golden import as_torch, official_shapes

ENCODER = asdict(SpeakerEncoderConfig(growth_rate=8, bn_size=2, init_channels=16, num_layers=(2, 1, 2)))
TOKENIZER = asdict(
    SpeechTokenizerConfig(
        n_mels=16, n_audio_state=32, n_audio_head=4, n_audio_layer=2, attn_ln_eps=1e-4, mlp_ln_eps=2e-5
    )
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    write_campplus(folder / "campplus.onnx", ENCODER, seed=7)
    write_speech_tokenizer(folder / "speech_tokenizer_v2.onnx", TOKENIZER, seed=7)
    write_speech_tokenizer(folder / "speech_tokenizer_v3.onnx", TOKENIZER, seed=7, opset=16)
    return {
        "campplus": folder / "campplus.onnx",
        "tokenizer": folder / "speech_tokenizer_v2.onnx",
        "tokenizer3": folder / "speech_tokenizer_v3.onnx",
    }


READERS: dict[str, Callable[[Path], object]] = {
    "campplus": read_campplus,
    "tokenizer": read_speech_tokenizer,
    "tokenizer3": read_speech_tokenizer,
}


def edited(source: Path, target: Path, edit: Callable[[onnx.GraphProto], None]) -> Path:
    """A copy of an ONNX file whose graph went through `edit`."""
    model = onnx.load(source)
    edit(model.graph)
    onnx.save(model, target)
    return target


def node_named(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.name == name)


def stored(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("/head/layer1/layer1.0/conv1/Conv", "head.layer1.0.conv1"),
        ("/head/layer2/layer2.0/shortcut/shortcut.0/Conv", "head.layer2.0.shortcut.0"),
        ("/xvector/block1/tdnnd12/cam_layer/linear1/Conv", "xvector.block1.tdnnd12.cam_layer.linear1"),
        ("/blocks.0/mlp/mlp.2/MatMul", "blocks.0.mlp.2"),
        ("/blocks.0/attn/Concat_1", "blocks.0.attn"),
        ("/Transpose", ""),
        ("Conv_12", ""),
    ],
)
def test_the_module_in_a_node_name(name: str, module: str) -> None:
    assert module_of(name) == module


def test_campplus_sizes_and_keys(files: dict[str, Path]) -> None:
    tensors = read_campplus(files["campplus"])
    assert campplus_config(tensors) == ENCODER
    network = campplus.build(ENCODER)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == {
        key: tensor.shape for key, tensor in tensors.items()
    }
    network.load_state_dict(as_torch(tensors), strict=True)


@pytest.mark.parametrize("kind", ["tokenizer", "tokenizer3"])
def test_tokenizer_sizes_and_weights(kind: str, files: dict[str, Path]) -> None:
    tensors, config = read_speech_tokenizer(files[kind])
    assert config == TOKENIZER
    shapes = {key: tuple(value.shape) for key, value in speech_tokenizer.build(TOKENIZER).state_dict().items()}
    assert tensors.keys() == shapes.keys()
    source = Source(files[kind], dict(tensors))
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, recipe.parameter(f"speech_tokenizer.{key}", shapes[key], 7), key)
        assert tensor.dtype == np.float32
        assert not tensor.flags.writeable
        taken = source.fetch(key)
        np.testing.assert_array_equal(taken, tensor, key)
        assert taken.flags.c_contiguous
        assert taken.flags.aligned


def test_the_published_size_has_every_official_key(tmp_path: Path) -> None:
    write_campplus(tmp_path / "campplus.onnx", asdict(SpeakerEncoderConfig()))
    tensors = read_campplus(tmp_path / "campplus.onnx")
    assert len(tensors) == 937
    assert {key: tensor.shape for key, tensor in tensors.items()} == official_shapes("campplus")


def test_the_bytes_depend_on_the_seed_only(files: dict[str, Path], tmp_path: Path) -> None:
    write_campplus(tmp_path / "a.onnx", ENCODER, seed=7)
    write_speech_tokenizer(tmp_path / "b.onnx", TOKENIZER, seed=7)
    write_campplus(tmp_path / "c.onnx", ENCODER, seed=8)
    assert (tmp_path / "a.onnx").read_bytes() == files["campplus"].read_bytes()
    assert (tmp_path / "b.onnx").read_bytes() == files["tokenizer"].read_bytes()
    assert (tmp_path / "c.onnx").read_bytes() != files["campplus"].read_bytes()


@pytest.mark.parametrize("kind", READERS)
def test_numbers_in_tensor_names_mean_nothing(kind: str, files: dict[str, Path], tmp_path: Path) -> None:
    def shuffle(graph: onnx.GraphProto) -> None:
        count = len(graph.initializer)
        names = {tensor.name: f"t{(index * 7) % count}" for index, tensor in enumerate(graph.initializer)}
        for tensor in graph.initializer:
            tensor.name = names[tensor.name]
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]

    path = edited(files[kind], tmp_path / "shuffled.onnx", shuffle)
    expected, got = READERS[kind](files[kind]), READERS[kind](path)
    np.testing.assert_equal(got, expected)


def test_tensors_that_an_exporter_shares(files: dict[str, Path], tmp_path: Path) -> None:
    """Equal tensors are stored once; the other names become outputs of Identity nodes."""
    names = [f"xvector.block{block}.tdnnd1.cam_layer.linear1.bias" for block in (1, 3)]

    def share(graph: onnx.GraphProto) -> None:
        stored(graph, names[0]).raw_data = np.zeros(8, np.float32).tobytes()
        graph.initializer.remove(stored(graph, names[1]))
        graph.node.insert(0, helper.make_node("Identity", [names[0]], [names[1]], name="Identity_0"))

    tensors = read_campplus(edited(files["campplus"], tmp_path / "shared.onnx", share))
    np.testing.assert_array_equal(tensors[names[1]], np.zeros(8))


def test_a_batchnorm_that_was_not_folded(files: dict[str, Path], tmp_path: Path) -> None:
    statistics = {name: recipe.parameter(f"head.bn1.{name}", (32,)) for name in ("weight", "bias", "running_var")}
    statistics["running_mean"] = recipe.parameter("head.bn1.running_mean", (32,))

    def unfold(graph: onnx.GraphProto) -> None:
        conv = node_named(graph, "/head/conv1/Conv")
        del conv.input[2]
        for name, value in statistics.items():
            graph.initializer.append(numpy_helper.from_array(value, f"head.bn1.{name}"))
        inputs = ["x", *(f"head.bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var"))]
        name = "/head/bn1/BatchNormalization"
        graph.node.append(helper.make_node("BatchNormalization", inputs, ["y"], name=name, epsilon=1e-5))

    tensors = read_campplus(edited(files["campplus"], tmp_path / "unfolded.onnx", unfold))
    for name, value in statistics.items():
        np.testing.assert_array_equal(tensors[f"head.bn1.{name}"], value)


# Files that must be refused


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file(kind: str, share: float, files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "part.onnx"
    whole = files[kind].read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(OnnxLayoutError, match=r"part\.onnx: not an ONNX file, or a damaged or cut one"):
        READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_name(kind: str, files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(files[kind].read_bytes().replace(b"/Transpose", b"/Tran\xffpose", 4))
    with pytest.raises(OnnxLayoutError, match=r"damaged\.onnx: not an ONNX file"):
        READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("text", ["hello\n", "version https://git-lfs.github.com/spec/v1\nsize 28303423\n", "<html>"])
def test_a_text_file(kind: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text(text)
    with pytest.raises(OnnxLayoutError, match=r"text\.onnx: not an ONNX file"):
        READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        READERS[kind](tmp_path / "none.onnx")


def test_one_file_for_the_other(files: dict[str, Path]) -> None:
    with pytest.raises(OnnxLayoutError, match=r"not the graph of the CAM\+\+.*xvector\.tdnn\.linear \(Conv\)"):
        read_campplus(files["tokenizer"])
    with pytest.raises(OnnxLayoutError, match=r"not the graph of an S3 speech tokenizer.*conv1 \(Conv\)"):
        read_speech_tokenizer(files["campplus"])


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("campplus", "/xvector/block3/tdnnd1/cam_layer/linear2/Conv", r"block3\.tdnnd1\.cam_layer\.linear2 \(Conv\)"),
        ("campplus", "/head/conv2/Conv", r"no node for head\.conv2 \(Conv\)$"),
        (
            "campplus",
            "/xvector/transit1/nonlinear/batchnorm/BatchNormalization",
            r"transit1\.nonlinear\.batchnorm \(BatchNormalization\)",
        ),
        ("tokenizer", "/blocks.0/attn/key/MatMul", r"no node for blocks\.0\.attn\.key \(MatMul\)$"),
        ("tokenizer", "/blocks.1/mlp/mlp.2/Add", r"no node for blocks\.1\.mlp\.2 \(Add\)$"),
        ("tokenizer", "/quantizer/project_in/MatMul", r"quantizer\.project_in \(MatMul\)"),
        ("tokenizer", "/blocks.1/attn_ln/LayerNormalization", r"blocks\.1\.attn_ln \(LayerNormalization\)$"),
        ("tokenizer3", "/blocks.1/attn_ln/Sqrt", r"no node for blocks\.1\.attn_ln \(LayerNormalization\)$"),
        ("tokenizer3", "/blocks.0/mlp_ln/Mul", r"no node for blocks\.0\.mlp_ln \(Mul\)$"),
        ("tokenizer3", "/blocks.1/mlp_ln/Add", r"blocks\.1\.mlp_ln \(Add\) is not the sum of a layer norm$"),
        ("tokenizer3", "/blocks.1/mlp_ln/Add_1", r"blocks\.1\.mlp_ln \(Add\) is not the sum of a layer norm$"),
    ],
)
def test_a_missing_node_is_named(kind: str, name: str, message: str, files: dict[str, Path], tmp_path: Path) -> None:
    path = edited(files[kind], tmp_path / "gap.onnx", lambda graph: graph.node.remove(node_named(graph, name)))
    with pytest.raises(OnnxLayoutError, match=message):
        READERS[kind](path)


def test_nodes_without_scopes(files: dict[str, Path], tmp_path: Path) -> None:
    def strip(graph: onnx.GraphProto) -> None:
        for index, node in enumerate(graph.node):
            node.name = f"{node.op_type}_{index}"

    for kind, reader in READERS.items():
        with pytest.raises(OnnxLayoutError, match="it has no node for"):
            reader(edited(files[kind], tmp_path / f"{kind}.onnx", strip))


@pytest.mark.parametrize(
    ("kind", "node", "position"),
    [
        ("campplus", "/xvector/transit2/linear/Conv", 1),
        ("campplus", "/head/conv1/Conv", 2),
        ("tokenizer", "/blocks.1/attn/value/MatMul", 1),
        ("tokenizer", "/blocks.0/mlp_ln/LayerNormalization", 1),
        ("tokenizer3", "/blocks.0/mlp_ln/Mul", 1),
        ("tokenizer3", "/blocks.1/attn_ln/Add_1", 1),
    ],
)
def test_a_wrong_shape_is_named(kind: str, node: str, position: int, files: dict[str, Path], tmp_path: Path) -> None:
    def shrink(graph: onnx.GraphProto) -> None:
        tensor = stored(graph, node_named(graph, node).input[position])
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[1:], tensor.name))

    path = edited(files[kind], tmp_path / "shape.onnx", shrink)
    with pytest.raises(OnnxLayoutError, match=rf"input {position} of node {node} has shape \[.*\], expected \["):
        READERS[kind](path)


@pytest.mark.parametrize(("kind", "node"), [("campplus", "/xvector/tdnn/linear/Conv"), ("tokenizer", "/conv1/Conv")])
def test_a_convolution_of_other_rank(kind: str, node: str, files: dict[str, Path], tmp_path: Path) -> None:
    def flatten(graph: onnx.GraphProto) -> None:
        tensor = stored(graph, node_named(graph, node).input[1])
        tensor.dims[:] = [tensor.dims[0], int(np.prod(tensor.dims[1:]))]

    with pytest.raises(OnnxLayoutError, match=rf"input 1 of node {node} has shape \[.*\], expected 3 axes"):
        READERS[kind](edited(files[kind], tmp_path / "rank.onnx", flatten))


def test_data_shorter_than_the_shape(files: dict[str, Path], tmp_path: Path) -> None:
    def cut(graph: onnx.GraphProto) -> None:
        tensor = stored(graph, "xvector.transit1.linear.weight")
        tensor.raw_data = tensor.raw_data[:-4]

    with pytest.raises(OnnxLayoutError, match=r"'xvector\.transit1\.linear\.weight' .* are incomplete"):
        read_campplus(edited(files["campplus"], tmp_path / "cut.onnx", cut))


def test_a_convolution_that_lost_its_folded_bias(files: dict[str, Path], tmp_path: Path) -> None:
    def drop(graph: onnx.GraphProto) -> None:
        del node_named(graph, "/xvector/tdnn/linear/Conv").input[2]

    with pytest.raises(OnnxLayoutError, match="node /xvector/tdnn/linear/Conv has no bias"):
        read_campplus(edited(files["campplus"], tmp_path / "bias.onnx", drop))


def test_integers_where_weights_should_be(files: dict[str, Path], tmp_path: Path) -> None:
    def quantize(graph: onnx.GraphProto) -> None:
        tensor = stored(graph, node_named(graph, "/blocks.0/attn/out/MatMul").input[1])
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int8), tensor.name))

    with pytest.raises(OnnxLayoutError, match=r"attn/out/MatMul is of type int8, expected floats"):
        read_speech_tokenizer(edited(files["tokenizer"], tmp_path / "int8.onnx", quantize))


def test_an_unclear_number_of_heads(files: dict[str, Path], tmp_path: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        name = node_named(graph, "/blocks.1/attn/Concat").input[2]
        constant = next(node for node in graph.node if node.output[0] == name)
        constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([8])))

    with pytest.raises(OnnxLayoutError, match=r"one number of heads, found \[4, 8\]"):
        read_speech_tokenizer(edited(files["tokenizer"], tmp_path / "heads.onnx", change))


def test_unequal_epsilons(files: dict[str, Path], tmp_path: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        node = node_named(graph, "/blocks.1/attn_ln/LayerNormalization")
        next(entry for entry in node.attribute if entry.name == "epsilon").f = 1e-3

    with pytest.raises(OnnxLayoutError, match=r"attn_ln have different epsilons: \[0\.0001, 0\.001\]"):
        read_speech_tokenizer(edited(files["tokenizer"], tmp_path / "eps.onnx", change))


@pytest.mark.parametrize("value", [1e-3, [1e-4, 1e-4]])
def test_other_epsilons_of_a_norm_taken_apart(value: object, files: dict[str, Path], tmp_path: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        name = node_named(graph, "/blocks.1/attn_ln/Add").input[1]
        constant = next(node for node in graph.node if node.output[0] == name)
        constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(value, np.float32)))

    with pytest.raises(OnnxLayoutError, match=r"different epsilons: \[0\.0001, 0\.001\]|Add is not one number"):
        read_speech_tokenizer(edited(files["tokenizer3"], tmp_path / "eps.onnx", change))


def test_a_norm_taken_apart_by_an_exporter_that_orders_otherwise(files: dict[str, Path], tmp_path: Path) -> None:
    """Stored inputs first, and the sum with the bias under the name of the other sum."""

    def change(graph: onnx.GraphProto) -> None:
        for name in ("Mul", "Add", "Add_1"):
            inputs = node_named(graph, f"/blocks.0/mlp_ln/{name}").input
            inputs[:] = [inputs[1], inputs[0]]
        added, biased = (node_named(graph, f"/blocks.0/mlp_ln/{name}") for name in ("Add", "Add_1"))
        added.name, biased.name = biased.name, added.name

    tensors, config = read_speech_tokenizer(edited(files["tokenizer3"], tmp_path / "order.onnx", change))
    expected, _ = read_speech_tokenizer(files["tokenizer3"])
    assert config == TOKENIZER
    for key, tensor in expected.items():
        np.testing.assert_array_equal(tensors[key], tensor, key)
