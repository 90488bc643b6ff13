"""Mutants: what the operators make of code and files, how they are drawn, and what is said of them."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from parity.__main__ import main
from parity.mutation import damage, overlay, summary
from parity.mutation.bench import Bench
from parity.mutation.campaign import Processes, plan, try_all
from parity.mutation.draw import Pool
from parity.mutation.mutant import Mutant, Outcome
from parity.mutation.numeric_code import LEFT_OUT, files
from parity.mutation.operators import OPERATORS, changes, edits
from parity.mutation.probe import changed, noise
from parity.mutation.reach import Reach, Tracer
from parity.mutation.results import Results
from parity.mutation.source import Edit, Source
from parity.mutation.trial import Trial, _raised

ROOT = Path(__file__).resolve().parents[2]


def _edited(operator: str, code: str) -> list[str]:
    """What an operator makes of a line of code."""
    source = Source("file.py", code)
    return [source.edited(edit) for edit in edits(source, operator) if changes(source, edit)]


@pytest.mark.parametrize(
    ("operator", "code", "expected"),
    [
        ("argument-dropped", "f(a, b, k=c)", ["f(a, k=c)", "f(b, k=c)"]),
        ("argument-exchanged", "f(a, b, c)", ["f(a, c, b)", "f(b, a, c)"]),
        ("argument-exchanged", "max(a, b)", []),
        ("default-not-passed", "f(a, k=b, *c, official_axes=d)", ["f(a, *c, official_axes=d)"]),
        ("arithmetic", "(a) + (b)", ["(a) - (b)"]),
        ("arithmetic", "a //= b", ["a *= b"]),
        ("arithmetic", "-(a + b)", ["(a + b)", "-(a - b)"]),
        ("comparison", "a < b >= c", ["a < b > c", "a <= b >= c"]),
        ("comparison", "a is not None", ["a is None"]),
        ("axis", "x.sum(axis=-1)", ["x.sum(axis=-2)", "x.sum(axis=0)"]),
        ("axis", "x.swapaxes(1, y)", ["x.swapaxes(0, y)", "x.swapaxes(2, y)"]),
        ("index", "x[0, y]", ["x[-1, y]", "x[1, y]"]),
        ("slice", "x[:, n:]", ["x[:, n + 1:]", "x[:, n - 1:]"]),
        ("slice", "x[-n:]", ["x[(-n) + 1:]", "x[(-n) - 1:]"]),
        ("constant", "x = -2", ["x = -1", "x = -3"]),
        ("constant", "x = 0.5 * y[1].sum(axis=2)", ["x = 0.25 * y[1].sum(axis=2)", "x = 0.55 * y[1].sum(axis=2)"]),
        ("flag", "f(x, True)", ["f(x, False)"]),
        ("flag", "a and not b", ["a and b", "a or not b"]),
        ("flag", "x = a if b else c", ["x = (c if b else a)"]),
        ("dtype", "x.astype(mx.float32)", ["x.astype(mx.float16)"]),
        ("residual-dropped", "x + f(x)", ["f(x)", "x"]),
        ("residual-dropped", "x + 1", []),
        ("call-left-out", "f(x + y) * z", ["(x + y) * z"]),
        ("call-left-out", "f(x).astype(y)", ["f(x)", "x.astype(y)"]),
        ("state-not-handed-on", "f(x, cache=self.cache)", ["f(x, cache=None)"]),
        ("state-not-handed-on", "def f(self):\n    self.x = 1", ["def f(self):\n    pass"]),
        ("state-not-handed-on", "def __init__(self):\n    self.x = 1", []),
    ],
)
def test_operator(operator: str, code: str, expected: list[str]) -> None:
    assert sorted(set(_edited(operator, code))) == sorted(expected)


def test_an_edit_leaves_all_other_bytes() -> None:
    source = Source("file.py", "# süß\nx = f('ü', a < b)  # <\n")
    (edit,) = edits(source, "comparison")
    assert source.edited(edit) == "# süß\nx = f('ü', a <= b)  # <\n"
    assert source.diff(edit).splitlines()[2:] == [
        "@@ -1,2 +1,2 @@",
        " # süß",
        "-x = f('ü', a < b)  # <",
        "+x = f('ü', a <= b)  # <",
    ]


@pytest.mark.parametrize(
    "code",
    [
        '"""1 + 1"""',
        "def f(x: tuple[1, 2]) -> g(1, 2): ...",
        "raise ValueError(1 + 1)",
        "if a < 1:\n    raise ValueError",
        "def _check(x):\n    return x + 1",
        "@f(1, 2)\ndef g(): ...",
        "mx.eval(x, y)",
        "f'{a + b}'",
        "assert a < 1",
    ],
)
def test_what_is_not_numeric_stays(code: str) -> None:
    assert not [name for name in OPERATORS if _edited(name, code)]


def test_every_edit_of_a_file_is_one_change_within_its_statement() -> None:
    source = Source.read(ROOT, "mlx_cosyvoice/flow/cfm.py")
    for name in OPERATORS:
        for edit in edits(source, name)[::10]:
            first, end = source.scope(edit)
            assert first <= source.lines(edit)[0] < source.lines(edit)[1] <= end
            assert source.place(edit).split(".")[-1] in "".join(
                source.text(source.tree.body[-1]) + ast.dump(source.tree)
            )


def test_declared_files_exist() -> None:
    found = files(ROOT)
    assert "mlx_cosyvoice/flow/cfm.py" in found
    assert not set(LEFT_OUT) & set(found)
    assert all((ROOT / file).is_file() for file in (*found, *LEFT_OUT))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, as far as mistakes can be made in it."""
    tensors = {
        "llm.a.weight": np.arange(9, dtype=np.float32).reshape(3, 3),
        "llm.b.weight": -np.arange(9, dtype=np.float32).reshape(3, 3),
        "flow.c.scales": np.array([[1, 2]], np.float32),
        "flow.c.biases": np.array([[3, 4]], np.float32),
    }
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(tensors, folder / damage.WEIGHTS, {"format": "mlx"})
    config = {"format_version": 1, "llm": {"top_p": 0.8, "sizes": [1, 2], "tied": True}}
    (folder / damage.CONFIG).write_text(json.dumps(config))
    tokens = [{"id": n, "content": content, "special": True} for n, content in enumerate(("<a>", "<b>"))]
    tokenizer = {"added_tokens": tokens, "model": {"merges": [["a", "b"], ["c", "d"]], "fuse_unk": False}}
    (folder / damage.TOKENIZER).write_text(json.dumps(tokenizer))
    return folder


def _damaged(folder: Path, operator: str, place: str, choice: int = 0) -> Path:
    partner = "llm.b.weight" if operator == damage.SWAPPED else ""
    mutant = Mutant(operator, "", place, "", partner=partner, choice=choice)
    return damage.damaged(mutant, folder, folder.parent / "damaged")


@pytest.mark.parametrize(
    ("operator", "place", "expected"),
    [
        ("tensor-scaled", "llm.a.weight", np.arange(9).reshape(3, 3) * np.float32(1.01)),
        ("tensor-swapped", "llm.a.weight", -np.arange(9).reshape(3, 3)),
        ("row-exchanged", "llm.a.weight", [[0, 1, 2], [6, 7, 8], [3, 4, 5]]),
        ("tensor-transposed", "llm.a.weight", np.arange(9).reshape(3, 3).T),
        ("tensor-negated", "llm.b.weight", np.arange(9).reshape(3, 3)),
        ("tensor-nan", "llm.a.weight", [[0, np.nan, 2], [3, 4, 5], [6, 7, 8]]),
        ("packed-group", "flow.c.scales", [[2, 1]]),
        ("packed-bias", "flow.c.biases", [[-3, -4]]),
    ],
)
def test_a_tensor_is_damaged(folder: Path, operator: str, place: str, expected: Any) -> None:
    before = load_file(folder / damage.WEIGHTS)
    after = load_file(_damaged(folder, operator, place, choice=1) / damage.WEIGHTS)
    np.testing.assert_array_equal(after[place], np.array(expected, np.float32))
    different = {name for name in before if not np.array_equal(before[name], after[name])}
    assert different == ({"llm.a.weight", "llm.b.weight"} if operator == "tensor-swapped" else {place})
    np.testing.assert_array_equal(load_file(folder / damage.WEIGHTS)[place], before[place])


@pytest.mark.parametrize(
    ("operator", "file", "places"),
    [
        ("config-number", damage.CONFIG, ["llm.top_p", "llm.sizes.0", "llm.sizes.1"]),
        ("token-merge-dropped", damage.TOKENIZER, ["model.merges.0", "model.merges.1"]),
        ("token-special-exchanged", damage.TOKENIZER, ["added_tokens.0", "added_tokens.1"]),
        ("token-flag", damage.TOKENIZER, ["added_tokens.0.special", "added_tokens.1.special", "model.fuse_unk"]),
        ("packed-scale", f"{damage.WEIGHTS}: flow", ["flow.c.scales"]),
        ("tensor-transposed", f"{damage.WEIGHTS}: llm", ["llm.a.weight", "llm.b.weight"]),
        ("row-exchanged", f"{damage.WEIGHTS}: llm", ["llm.a.weight", "llm.b.weight"]),
    ],
)
def test_places_of_a_damage(folder: Path, operator: str, file: str, places: list[str]) -> None:
    assert damage.places(operator, folder) == {file: places}


@pytest.mark.parametrize(
    ("operator", "place", "path", "value"),
    [
        ("config-number", "llm.sizes.1", ("llm", "sizes"), [1, 3]),
        ("token-merge-dropped", "model.merges.0", ("model", "merges"), [["c", "d"]]),
        ("token-special-dropped", "added_tokens.1", ("added_tokens", slice(1, None)), []),
        ("token-special-exchanged", "added_tokens.0", ("added_tokens", 0, "content"), "<b>"),
        ("token-flag", "model.fuse_unk", ("model", "fuse_unk"), True),
    ],
)
def test_a_field_is_damaged(folder: Path, operator: str, place: str, path: tuple[Any, ...], value: Any) -> None:
    file = damage.JSON[operator].file
    content = json.loads((_damaged(folder, operator, place) / file).read_text())
    assert content != json.loads((folder / file).read_text())
    for name in path:
        content = content[name]
    assert content == value


@pytest.fixture
def pool(folder: Path) -> Pool:
    return Pool(ROOT, folder, folder)


def test_the_same_seed_draws_the_same_mutants_and_more_of_them(pool: Pool, folder: Path) -> None:
    few, many = [*pool.draw(3, 8)], [*Pool(ROOT, folder, folder).draw(3, 16)]
    assert few == many[:8]
    assert len({(mutant.file, mutant.place, mutant.change, mutant.operator) for mutant in many}) == 16
    assert few != [*pool.draw(4, 8)]


def test_a_drawn_edit_compiles_and_is_shown(pool: Pool) -> None:
    mutant = next(mutant for mutant in pool.draw(0, 20) if mutant.is_code)
    assert ast.dump(ast.parse(mutant.text)) != ast.dump(Source.read(ROOT, mutant.file).tree)
    assert re.search(r"^-", mutant.change, re.MULTILINE)
    assert "text" not in mutant.to_dict()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "edited_package").mkdir()
    (tmp_path / "edited_package/__init__.py").write_text("")
    (tmp_path / "edited_package/part.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    yield tmp_path
    for name in ("edited_package.part", "edited_package"):
        sys.modules.pop(name, None)


def test_an_edited_file_is_imported_in_place_of_its_own(package: Path) -> None:
    overlay.install("edited_package/part.py", "VALUE = 2\n")
    assert importlib.import_module("edited_package.part").VALUE == 2
    assert (package / "edited_package/part.py").read_text() == "VALUE = 1\n"


def test_a_file_that_was_imported_before_is_refused(package: Path) -> None:
    importlib.import_module("edited_package.part")
    with pytest.raises(RuntimeError, match=r"edited_package\.part was imported before"):
        overlay.install("edited_package/part.py", "VALUE = 2\n")


def test_a_tracer_says_what_runs_for_which_module() -> None:
    import mlx.core as mx

    from mlx_cosyvoice.nn import layers

    file = "mlx_cosyvoice/nn/layers.py"
    tracer = Tracer(f"{ROOT}/", [file])
    with tracer.during(""):
        conv, outer = layers.Conv1d(2, 3, 3), layers.Mish()
    with tracer.during("offline-stage"):
        conv(mx.zeros((1, 4, 2)))
    reach = tracer.reach({id(conv): "part.conv", id(outer): "part.act"})
    ran = {line for (_, line), stages in reach.stages.items() if stages == {"offline-stage"}}
    assert ran
    assert all(reach.owners[file, line] == {"part.conv"} for line in ran)
    assert {"part.act"} in reach.owners.values()


def _mutant(**values: Any) -> Mutant:
    return replace(Mutant("constant", "mlx_cosyvoice/a.py", "Part.run", "-a\n+b", (5, 6), (3, 9), text="x"), **values)


def _bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, tmp_path, tmp_path, tmp_path)


COMPONENTS = {"flow": {"offline-flow_encoder", "official-flow_encoder"}}
FILE = "mlx_cosyvoice/a.py"


def test_a_mutant_is_looked_for_where_it_runs_and_its_users_are_to_be_named(tmp_path: Path) -> None:
    reach = Reach({(FILE, 5): {"official-streaming", "offline-flow_encoder"}}, {(FILE, 4): {"flow.a.b"}})
    reach.modules = {"flow", "flow.a", "flow.a.b"}
    planned = plan(1, _mutant(), _bench(tmp_path), reach, COMPONENTS)
    assert planned.stages == ["offline-flow_encoder", "official-streaming"]
    assert (planned.expected, planned.parents) == ({"flow.a.b"}, {"flow.a"})


def test_what_a_constructor_does_shows_in_all_stages_of_its_component(tmp_path: Path) -> None:
    reach = Reach({}, {(FILE, 5): {"flow.a"}}, {(FILE, 5): {"flow.a.b"}}, {"flow", "flow.a", "flow.a.b"})
    planned = plan(1, _mutant(), _bench(tmp_path), reach, COMPONENTS)
    assert planned.stages == ["offline-flow_encoder", "official-flow_encoder"]
    assert planned.expected == {"flow.a", "flow.a.b"}


def test_a_line_that_nothing_runs_is_reached_by_no_stage(tmp_path: Path) -> None:
    reach = Reach({(FILE, 7): {"offline-flow_encoder"}}, {(FILE, 7): {"flow"}})
    assert not plan(1, _mutant(), _bench(tmp_path), reach, COMPONENTS).stages


def test_what_no_module_does_is_named_by_its_stage(tmp_path: Path) -> None:
    reach = Reach({(FILE, 5): {"official-streaming"}}, {(FILE, 5): {"official-streaming"}})
    planned = plan(1, _mutant(), _bench(tmp_path), reach, COMPONENTS)
    assert planned.named(["streaming.cross_fade"]) == "exactly"
    assert planned.named(["hift"]) == "wrong"


def _trial(tmp_path: Path) -> Trial:
    return Trial(0, _mutant(), _bench(tmp_path), ["offline-a"], frozenset({"flow.a.b"}), frozenset({"flow.a"}))


@pytest.mark.parametrize(
    ("culprits", "named"),
    [(["flow.a.b"], "exactly"), (["flow.a.b", "flow.a"], "parent"), (["flow.a.b", "flow.c"], "wrong")],
)
def test_all_culprits_must_be_right(tmp_path: Path, culprits: list[str], named: str) -> None:
    assert _trial(tmp_path).named(culprits) == named


@pytest.mark.parametrize(
    ("file", "place", "culprits", "named"),
    [
        ("config.json", "flow.a.sizes.0", ["config.json: flow.a.sizes", "flow.a.b"], "exactly"),
        ("config.json", "flow.a.size", ["flow.a.b"], "wrong"),
        ("tokenizer.json", "model.merges.0", ["tokenizer.json: merge 'a b'", "text_tokenizer"], "exactly"),
        ("model.safetensors: flow", "flow.a.weight", ["flow.a", "flow.b"], "wrong"),
    ],
)
def test_what_a_folder_holds_is_named_by_its_field_or_tensor(
    tmp_path: Path, file: str, place: str, culprits: list[str], named: str
) -> None:
    mutant = Mutant("operator", file, place, "")
    assert plan(1, mutant, _bench(tmp_path), Reach(), COMPONENTS).named(culprits) == named


def _raise(file: str, function: str, message: str = "no") -> Exception:
    code = compile(f"def {function}():\n    raise ValueError({message!r})", f"/x/{file}", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    try:
        names[function]()
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (_raise(FILE, "run"), "exactly"),
        (_raise(FILE, "other"), "wrong"),
        (_raise("mlx_cosyvoice/weights.py", "load", "wrong shape: flow.a.b.weight"), "exactly"),
    ],
)
def test_an_exception_names_its_function(tmp_path: Path, error: Exception, named: str) -> None:
    outcome = _raised(_trial(tmp_path), error, "raises")
    assert (outcome.end, outcome.named, outcome.found) == ("raises", named, True)


def test_what_public_functions_return_is_compared() -> None:
    healthy: dict[str, np.ndarray] = {"wave": np.ones(9, np.float32), "token": np.arange(3)}
    none = noise([healthy], healthy)
    assert changed({"wave": healthy["wave"] + np.float32(1e-5), "token": np.arange(3)}, healthy, none) == []
    louder: dict[str, np.ndarray] = {"wave": healthy["wave"] * np.float32(1.01), "token": np.arange(1, 4)}
    assert changed(louder, healthy, none) == ["wave", "token"]
    assert changed({"wave": np.ones(8, np.float32), "token": np.arange(3)}, healthy, none) == ["wave"]
    assert changed({"wave": np.full(9, np.nan, np.float32), "token": np.arange(3)}, healthy, none) == ["wave"]
    runs: list[dict[str, np.ndarray]] = [
        {"wave": healthy["wave"] * np.float32(1.005), "token": np.arange(1, 4)},
        healthy,
    ]
    shaken = noise(runs, healthy)
    assert changed(louder, healthy, shaken) == []


def _outcomes() -> list[Outcome]:
    mutant = _mutant().to_dict()
    ends = [("diverged", "exactly"), ("raises", "parent"), ("hangs", "wrong"), ("missed", ""), ("survives", "")]
    return [Outcome(n, mutant, end, named, reached=("offline-a",)) for n, (end, named) in enumerate(ends)]


def test_last_line() -> None:
    line = "mutants 5, changed 4, found 3, named exactly 1, parent 1, survivors 1"
    assert summary.last_line(_outcomes()) == line
    assert summary.to_dict(_outcomes(), seed=1, seconds=2)["summary"] == line


def test_shares_are_of_what_changes_something() -> None:
    exact, *_, survivor = _outcomes()
    assert summary.passes([exact, survivor], 1.0, 1.0, 1.0)
    assert not summary.passes(_outcomes(), 0.8, 0, 0)
    assert not summary.passes(_outcomes(), 0, 0.3, 0)
    assert not summary.passes(_outcomes(), 0, 0, 0.6)


def test_markdown_shows_what_was_not_named_or_not_found() -> None:
    text = summary.markdown(_outcomes(), seed=1, seconds=60)
    assert "| constant | 5 | 4 | 3 | 1 | 1 | 1 | 1 |" in text
    assert [re.findall(rf"## {title}: (\d+)", text) for title in ("Missed", "Named wrongly", "Survivors")] == [
        ["1"]
    ] * 3


def test_outcomes_are_kept_until_code_or_seed_change(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "parity").mkdir(parents=True)
    (root / "parity/a.py").write_text("1")
    first, path = _outcomes()[0], tmp_path / "kept.jsonl"
    Results(path, root, 1).add(first)
    with path.open("a") as file:
        file.write('{"number": 1, "mut')  # stopped while it was written
    Results(path, root, 1).add(replace(first, number=1))
    assert Results(path, root, 1).outcomes == {0: first, 1: replace(first, number=1)}
    (root / "parity/a.py").write_text("2")
    assert Results(path, root, 1).outcomes == {}
    Results(path, root, 1).add(first)
    assert Results(path, root, 2).outcomes == {}


def test_command_refuses_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutate", "--count", "0"]) == 2
    assert "--count and --jobs must be at least 1" in capsys.readouterr().err


def _chosen(file: str, old: str, new: str) -> Mutant:
    source, text = Source.read(ROOT, file), (ROOT / file).read_text(encoding="utf-8")
    start = len(text[: text.index(old)].encode())
    edit = Edit(start, start + len(old.encode()), new)
    where = (source.place(edit), source.diff(edit), source.lines(edit), source.scope(edit))
    return Mutant("chosen", file, *where, text=source.edited(edit))


#: A cache that is not handed on, arrays put together along the wrong axis, a loop that never ends; and what only the
#: other family feels, as its vocoder alone goes on from a state.
CHOSEN = [
    (
        ("mlx_cosyvoice/flow/encoder.py", "self.up_layer(x, cache)", "self.up_layer(x, None)"),
        "diverged",
        "flow.encoder",
    ),
    (
        ("mlx_cosyvoice/flow/estimator.py", "[x, mu, spks, cond], axis=-1", "[x, mu, spks, cond], axis=0"),
        "diverged",
        "flow.decoder.estimator",
    ),
    (
        ("mlx_cosyvoice/flow/cfm.py", "x = self.starting_noise(", "while True: pass\n        x = self.starting_noise("),
        "hangs",
        "",
    ),
    (("mlx_cosyvoice/nn/cache.py", "self._position = 0 if", "self._position = 1 if"), "diverged", "streaming.noise"),
]


@pytest.mark.slow
def test_mutants_from_the_command_to_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seed", "0", "--count", "2", "--work", str(tmp_path)]
    assert main(["mutate", *options, "--json", str(tmp_path / "m.json"), "--markdown", str(tmp_path / "m.md")]) in (
        0,
        1,
    )
    out = capsys.readouterr().out
    data = json.loads((tmp_path / "m.json").read_text())
    assert out.splitlines()[-1] == data["summary"]
    assert len(data["outcomes"]) == 2
    assert (tmp_path / "m.md").read_text().startswith("# Mutants\n")
    folders = (tmp_path, tmp_path / "cosyvoice3")
    families = [Bench(folder / "tiny", folder / "tiny-mlx", folder / "tiny-8bit", folder) for folder in folders]
    mutants = enumerate(_chosen(*edit) for edit, _, _ in CHOSEN)
    with Processes() as processes:
        outcomes = sorted(try_all(processes, families, mutants, 2), key=lambda outcome: outcome.number)
    for outcome, (_, end, culprit) in zip(outcomes, CHOSEN, strict=True):
        assert (outcome.end, outcome.named) == (end, "exactly"), outcome
        assert not culprit or outcome.culprits == (culprit,)
