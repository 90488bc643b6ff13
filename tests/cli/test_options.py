"""The command line's options: no argument is lost on the way to them, and values are of the declared types."""

from __future__ import annotations

import argparse
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from mlx_cosyvoice import cli
from mlx_cosyvoice.cli import options
from mlx_cosyvoice.cli.options import ModelOptions

COMMANDS = {
    "info": "--model m --json",
    "speak": "text --encoding utf-8 --model m --dtype float32 --prompt p --transcript t --start 1 --end 2 --voices v "
    "--out o --format wav --subtype pcm16 --force --play --json --quiet --decoding official --speed 2 --seed 3 "
    "--steps 4 --mode sft --instruct i --no-normalize --min-token-text-ratio 1 --max-token-text-ratio 2",
    "convert-voice": "source --start 1 --end 2 --voice a --prompt-start 3 --prompt-end 4 --out -",
    "voices add": "a p.wav --start 1 --transcript t --model m --force --voices v",
    "voices list": "--json",
    "voices show": "a",
    "voices remove": "a",
    "voices export": "a f --force",
    "voices import": "f --name a --speaker b --speaker c --force",
}

#: Arguments that belong to no command's options: `main` reads them.
MAIN = {"traceback", "run", "action"}


def built(line: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, argparse.Namespace]:
    """The options of a command line, and the namespace that they were made of."""
    made: list[tuple[Any, argparse.Namespace]] = []
    build = options.build

    def keep(kind: type[Any], arguments: argparse.Namespace) -> Any:
        monkeypatch.setattr(options, "build", build)  # for the parts of the options
        made.append((build(kind, arguments), arguments))
        raise ValueError("far enough")

    monkeypatch.setattr(options, "build", keep)
    assert cli.main(line.split()) == 1
    return made[-1]


def leaves(value: Any) -> dict[str, tuple[Any, Any]]:
    """Name -> (value, declared type) of all fields, those of parts included."""
    types, found = get_type_hints(type(value)), {}
    for field in fields(value):
        own = getattr(value, field.name)
        found.update(leaves(own) if is_dataclass(own) else {field.name: (own, types[field.name])})
    return found


def fits(value: Any, declared: Any) -> bool:
    if get_origin(declared) is list:
        return isinstance(value, list) and all(fits(part, get_args(declared)[0]) for part in value)
    if get_args(declared):
        return any(fits(value, one) for one in get_args(declared))
    return type(value) is declared or (declared is float and type(value) is int) or isinstance(value, declared)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_becomes_a_field_of_its_declared_type(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, namespace = built(f"{command} {COMMANDS[command]}", monkeypatch)
    found = leaves(value)
    assert set(vars(namespace)) - set(found) <= MAIN | ({"quiet"} - set(found))
    assert {name: own for name, own in vars(namespace).items() if name in found} == {
        name: own for name, (own, _) in found.items()
    }
    wrong = {name: (own, declared) for name, (own, declared) in found.items() if not fits(own, declared)}
    assert not wrong
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


def test_the_model_is_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(options.MODEL_VARIABLE, "there")
    assert ModelOptions(None, "auto").folder() == "there"
    assert ModelOptions("here", "auto").folder() == "here"
    monkeypatch.delenv(options.MODEL_VARIABLE)
    with pytest.raises(ValueError, match="no model: give --model DIR"):
        ModelOptions(None, "auto").folder()
    assert (ModelOptions(None, "stored").computed_in, ModelOptions(None, "auto").computed_in) == (None, "auto")
