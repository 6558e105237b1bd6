"""Config files: what flags set, written and read again; a file that is wrong is refused by line."""

import json
import types
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.config_file import ConfigFile, read_value
from reverie.experiments.config.config_text import config_text, value_text
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.roles import choose_all, part_at, roles
from reverie.experiments.config.run_names import default_folder
from reverie.experiments.config.yaml_nodes import MAX_BYTES, MAX_DEPTH, MAX_NODES, read_nodes
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.command_line import parse_experiment

FAST = ["--quiet", "--random-play-seconds", "0", "--device", "cpu", "--threads", "1"]


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exit:
        raise SystemExit(cli.main([*argv, "--print-config"]))
    assert exit.value.code in (0, None)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_read_as_it_was_printed(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "config.yaml", config_text({"preset": name}, PRESETS[name]))
    start, (experiment,), _ = parse_experiment(["--config", path])
    assert experiment == PRESETS[name]
    assert repr(experiment) == repr(PRESETS[name]), "1 is not 1.0"
    assert start.folder(experiment) == default_folder(name, PRESETS[name])


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
FLOATS = st.floats(allow_nan=False)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a setting's type."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values, args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple and args[-1] is ...:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, args))
    known: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(), int: st.integers(), float: FLOATS | st.integers(0, 3).map(float),
        str: TEXTS, Path: TEXTS.map(Path), types.NoneType: st.none(),
    }  # fmt: skip
    return known[kind]


def with_part(config: Any, path: str, part: Any) -> Any:
    """Return a config with another part at a dotted path; of an empty one, the part."""
    head, _, rest = path.partition(".")
    return replace(config, **{head: with_part(getattr(config, head), rest, part)}) if path else part


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_experiments_of_any_flags_are_read_as_they_were_printed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Parts and settings are drawn; those that a config refuses are drawn again."""
    name = data.draw(st.sampled_from([*PRESETS]))
    experiment = PRESETS[name]
    for _ in range(data.draw(st.integers(0, 3))):
        role, table = data.draw(st.sampled_from([*roles(experiment)]))
        part = data.draw(st.sampled_from([*table]))
        try:
            experiment = choose_all(experiment, [f"{role}:{part}"])
        except UsageError:
            assume(False)
    for _ in range(data.draw(st.integers(0, 4))):
        paths = ["", *(role for role, _ in roles(experiment))]
        path = data.draw(st.sampled_from(paths))
        config = part_at(experiment, path) if path else experiment
        hints = get_type_hints(type(config))
        own = [x.name for x in fields(config) if not is_dataclass(getattr(config, x.name))]
        own = [x for x in own if x != "name"]  # of a protocol, which its other settings define
        if not own:
            continue
        field = data.draw(st.sampled_from(own))
        try:
            changed = replace(config, **{field: data.draw(values(hints[field]))})
            experiment = with_part(experiment, path, changed)
        except (UsageError, OverflowError, ZeroDivisionError):
            continue
    file = tmp_path_factory.getbasetemp() / "drawn.yaml"
    file.write_text(config_text({"preset": name}, experiment))
    read = ConfigFile(file)
    assert read.take_text("preset") == name
    assert repr(read.apply(PRESETS[name])) == repr(experiment)
    read.check_empty()


@given(TEXTS | TEXTS.map(Path))
def test_texts_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    file = tmp_path_factory.getbasetemp() / "text.yaml"
    file.write_text(f"key: {value_text(value)}\n")
    assert read_value(read_nodes(file)["key"], Path if isinstance(value, Path) else str) == value


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1e-4", float, 1e-4),
        ("3", float, 3.0),
        ("200_000", int, 200_000),
        ("no", str, "no"),
        ("no", bool, False),
        ("On", bool, True),
        ("1942", str, "1942"),
        ("null", float | None, None),
        ("~", Path | None, None),
        ("0.5", float | None, 0.5),
        ("[64, 64]", tuple[int, ...], (64, 64)),
        ("4", Literal[2, 4, 8], 4),
        ("auto", Literal["auto"] | Literal["gaussian"], "auto"),
        ("1.5", int, ValueError),
        ("1e6", int, ValueError),
        ("'3'", int, ValueError),
        ("maybe", bool, ValueError),
        ("1", bool, ValueError),
        ("[1, 2]", float, ValueError),
        ("1", tuple[int, ...], ValueError),
        ("[1]", tuple[int, int], ValueError),
        ("3", Literal[2, 4, 8], ValueError),
    ],
)
def test_the_type_decides_what_a_text_means(
    text: str, kind: Any, value: Any, tmp_path: Path
) -> None:
    node = read_nodes(Path(written(tmp_path / "a.yaml", f"key: {text}")))["key"]
    if value is ValueError:
        with pytest.raises((ValueError, LookupError)):
            read_value(node, kind)
    else:
        found = read_value(node, kind)
        assert (found, type(found)) == (value, type(value))


LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(12)]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset: dqn\nagent:\n  gama: 0.9", "line 3: There is no key 'agent.gama'. Did you mean"),
        ("preset: dqn\nlearning_rate: 1", "line 2: .*Write it as a mapping, agent: {learning_rate"),
        ("preset: dqn\nagent.gamma: 1", "line 2: .*Write it as a mapping, agent: {gamma"),
        ("preset: dqn\nagent: {gamma: high}", "line 2: agent.gamma is 'high'; .* a number"),
        ("preset: dqn\nagent: {gamma: 3}", r"line 2: agent.gamma is 3.0; it must be in 0..1"),
        ("preset: dqn\nseed: 1\n\nseed: 2", "line 4: the key 'seed' stands here and in line 2"),
        ("preset: dqn\nnum-envs: 1\nnum_envs: 2", "line 3: the key 'num_envs' stands here and in"),
        ("preset: dqn\nbonus: simhsh", "line 2: There is no bonus 'simhsh'. Did you mean simhash"),
        ("preset: dqn\nbonus: [simhash]", "line 2: bonus is a list; give one name"),
        ("preset: dqn\ngame: pong\nenv: {game: pong}", "line 2: env.game stands in line 3, too"),
        ("preset: dqn\nenv: catch\ngame: pong", "line 3: There is no key 'env.game'"),
        ("preset: dqn\nfolder: ''", "line 2: .*folder.*a path"),
        ("preset: dqnn", "There is no preset 'dqnn'. Did you mean dqn"),
        ("seed: 3", "has no preset and no agent; add preset: NAME"),
        ("preset: dqn\nseed: !!python/object/apply:os.system [ls]", "line 2: tags such as"),
        ("!!python/object:x\npreset: dqn", "tags such as"),
        ("preset: dqn\nseed: *x", "line 2: the alias .x names nothing before it"),
        ("preset: &x {a: *x}", "line 1: the alias .x names nothing"),
        ("preset: dqn\n---\nseed: 1", "line 2: another document begins"),
        ("preset: dqn\nseed: [1", "is no YAML"),
        ("preset: dqn\nseed: \x07", "is no YAML"),
        ("? [a, b]\n: 3", "line 1: a key is no plain text"),
        ("- preset", "holds a list; a config is a mapping"),
        ("", "is empty"),
        ("# nothing", "is empty"),
        (LAUGHS, f"there are more than {MAX_NODES:,} values"),
        ("a: " + "[" * 500, f"nested deeper than {MAX_DEPTH} levels"),
        ("a: " + "{b: " * 500, f"nested deeper than {MAX_DEPTH} levels"),
        ("# " + "x" * MAX_BYTES, "more than 262,144 bytes"),
        ("preset: dqn\nimport: [no_such_module]", "cannot be imported"),
    ],
)
def test_a_wrong_file_is_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "wrong.yaml", text)
    with pytest.raises(UsageError, match=message):
        parse_experiment(["--config", path])


def test_bytes_of_any_kind_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no text in UTF-8"):
        parse_experiment(["--config", str(path)])
    with pytest.raises(UsageError, match=r"none.yaml cannot be read: No such file"):
        parse_experiment(["--config", str(tmp_path / "none.yaml")])
    with pytest.raises(UsageError, match="--config is given twice"):
        parse_experiment(["--config", str(path), "--config", str(path)])


def test_flags_override_a_file_and_a_preset_can_stand_before_it(tmp_path: Path) -> None:
    text = "agent: {representation: {name: vae, latent: {size: 5}}}\ngame: pong\nseed: 4\n"
    path = written(tmp_path / "part.yaml", text)
    start, (experiment,), options = parse_experiment(
        ["mfec", "--config", path, "--seed", "5", "--game", "qbert", "env.protocol:nature", *FAST]
    )
    flags = (
        "agent.representation:vae env.protocol:nature --agent.representation.latent.size 5 --seed 5"
    )
    _, expected, _ = parse_experiment(["mfec", "--game", "qbert", *flags.split()])
    assert [experiment] == expected
    assert (start.preset, options.quiet) == ("mfec", True)
    with pytest.raises(UsageError, match="has no preset and no agent"):
        parse_experiment(["--config", written(tmp_path / "seed.yaml", "seed: 4")])
    both = written(tmp_path / "both.yaml", "preset: dqn")
    with pytest.raises(UsageError, match="has the preset dqn, so leave out mfec"):
        parse_experiment(["mfec", "--config", both])
    games = written(tmp_path / "games.yaml", "preset: dqn\ngames: pong,qbert")
    assert [x.env.env_name for x in parse_experiment(["--config", games])[1]] == ["pong", "qbert"]
    one = parse_experiment(["--config", games, "--game", "venture"])[1]
    assert [x.env.env_name for x in one] == ["venture"]


def test_json_with_tabs_is_a_config(tmp_path: Path) -> None:
    data = {"preset": "dqn", "env": {"name": "catch"}, "agent": {"gamma": 0.5, "dueling": True}}
    path = written(tmp_path / "config.json5.json", json.dumps(data, indent="\t"))
    _, (experiment,), _ = parse_experiment(["--config", path])
    flags = ["env:catch", "--agent.gamma", "0.5", "--agent.dueling"]
    assert experiment == parse_experiment(["dqn", *flags])[1][0]


def test_parts_are_named_or_have_a_name_and_settings(tmp_path: Path) -> None:
    text = "preset: dqn\nenv: catch\nbonus:\n  name: pseudo-count\n  density: pixel-cnn\n"
    path = written(tmp_path / "config.yaml", text)
    tokens = ["env:catch", "bonus:pseudo-count", "bonus.density:pixel-cnn"]
    assert parse_experiment(["--config", path])[1] == parse_experiment(["dqn", *tokens])[1]


@pytest.mark.parametrize(
    "command",
    [
        "train ppo --games pong,qbert --agent.num-steps 8 --folder runs/x --precision bf16",
        "train dqn agent.network:mlp bonus:simhash --bonus.bits 8 --import os",
        "imagine ppo --game pong predictor:small-rssm --predictor.groups 4 --rounds 2",
        "pretrain density:made --data x y --density.hidden 32 --minutes 2",
        "evaluate runs/a runs/b --episodes 3 --protocols mfec,machado --stochastic",
        "collect random env:catch --frames 7 --epsilon 0.5",
        "collect runs/a --frames 7",
        "ablate dqn env:catch bonus:none,simhash+scale=0.1 --seeds 4 --threads 2 --agent.gamma 0.5",
    ],
)
def test_every_command_reads_what_it_prints(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, *command.split())
    path = written(tmp_path / "printed.yaml", text)
    name, *argv = command.split()
    player = argv[:1] if name == "collect" else []
    assert printed(capsys, name, *player, "--config", path) == text
    assert text != printed(capsys, name, *player, "--config", path, "--device", "meta")


def test_a_file_and_its_flags_are_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["env:catch", "--total-timesteps", "64", "--num-envs", "4", "--agent.capacity", "99"]
    path = written(tmp_path / "run.yaml", printed(capsys, "train", "mfec", *flags, *FAST))
    assert cli.main(["train", "--config", path]) == 0
    assert cli.main(["train", "mfec", *flags, *FAST[1:]]) == 0
    assert "is finished at step 64" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    copy = written(tmp_path / "copy.json", (folder / "config.json").read_text())
    for config, name in (
        (f"{folder}/config.json", f"{folder.name}-again"),
        (copy, "copy-catch-s0"),
    ):
        assert cli.main(["train", "--config", config, *FAST]) == 0
        assert (tmp_path / "runs" / name / "config.json").exists()
        assert Run(tmp_path / "runs" / name).config() == Run(folder).config()
