"""HyperPyYAML is read as data: what a tag would make is left out, and never made."""

from __future__ import annotations

from pathlib import Path

from reference.yaml_nodes import YamlNodes

TEXT = """
size: 4
__seed: !apply:os.system ["exit 1"]
net: !new:package.Net
    width: !ref <size> * 2
    name: 'net'
    rates: [8, 5]
    inner: {rate: 1e-6, part: !name:package.part {}}
    layer: !new:package.Layer
        width: !ref <size>
    other: !ref <layers>
layers: {depth: 3}
"""


def test_a_mapping_holds_its_plain_values_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(TEXT)
    nodes = YamlNodes(path)
    plain = {"width": 8, "name": "net", "rates": [8, 5], "inner": {"rate": 1e-6}, "other": {"depth": 3}}
    assert nodes.plain("net") == plain
    assert nodes.plain("net.layer") == {"width": 4}
