"""Moments: a round trip through a file, and files of strangers that are none."""

import base64
import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.inspectors.panels import Images, Picture, Slider, View
from reverie.experiments.play import moment_file
from reverie.experiments.play.encoding import pack_view
from reverie.experiments.play.history import History
from reverie.experiments.play.lockstep import Lockstep
from reverie.experiments.play.moment_file import (
    MAX_BYTES,
    MAX_FILE_BYTES,
    MAX_TIMESTEPS,
    mismatch,
    read_moment,
)
from reverie.experiments.play.playback import Playback

from play_fixtures import StaticPredictor, build_session, chromium, open_page, serving
from sample_agents import SMALL_PPO


@pytest.fixture(scope="module")
def saved() -> bytes:
    """A moment of two players in Catch."""
    played = Lockstep([build_session(SMALL_PPO), build_session()])
    for _ in range(25):
        played.step()
    content = played.moment()
    played.close()
    return content


def parsed(content: bytes) -> Any:
    return json.loads(gzip.decompress(content))


def read(content: bytes) -> list[tuple[dict[str, Any], History]]:
    return read_moment(content, "file")


def packed(data: Any) -> bytes:
    return gzip.compress(json.dumps(data).encode(), 1)


def test_a_moment_shows_what_was_shown() -> None:
    session = build_session(SMALL_PPO)
    played = Lockstep([session])
    for _ in range(MAX_TIMESTEPS + 20):
        played.step()
    played.execute({"command": "seek", "value": MAX_TIMESTEPS + 10})
    content = played.moment()
    assert len(content) < 500_000
    ((info, history),) = read_moment(content, "file")
    assert info["player"] == "agent"
    assert info["seed"] == 0
    kept = list(session.history.entries)[11 : MAX_TIMESTEPS + 11]
    assert [x.event for x in history.entries] == [x.event for x in kept]
    for entry, original in zip(history.entries, kept, strict=True):
        assert json.loads(entry.packed_view) == json.loads(original.packed_view)
        assert entry.state == original.state
    playback = Playback([(info, history)], closable=False)
    for entry in kept:
        message = json.loads(playback.message())["players"][0]
        assert message["view"] == json.loads(entry.packed_view)
        assert message["state"]["timestep"] == entry.event.timestep
        assert playback.step() == (entry is not kept[-1])
    assert not playback.running
    for entry in parsed(content)["players"][0]["entries"][1:]:
        action = [info["actions"][x] for x in entry["actions"]]
        assert action == ([entry["state"]["lastAction"]] if entry["state"]["length"] else [])
    played.close()


def test_a_moment_has_the_same_timesteps_of_both_players(saved: bytes, monkeypatch: Any) -> None:
    """The first player's views are larger, and fewer of them fit."""
    both = [[entry["event"][0] for entry in x["entries"]] for x in parsed(saved)["players"]]
    assert both[0] == both[1] == list(range(26))
    played = Lockstep([build_session(SMALL_PPO), build_session()])
    for _ in range(25):
        played.step()
    sizes = [len(x.history.entries[-1].packed_view) for x in played.sessions]
    assert sizes[0] > 2 * sizes[1]
    monkeypatch.setattr(moment_file, "MAX_VIEW_BYTES", 10 * sizes[0])
    timesteps = [[x[0] for x in history.events_since(-1)] for _, history in read(played.moment())]
    assert timesteps[0] == timesteps[1]
    assert 5 < len(timesteps[0]) < 15
    played.close()


def test_the_events_of_a_moment_are_sent_once(saved: bytes) -> None:
    playback = Playback(read(saved), closable=False)
    sent = [json.loads(playback.message(since)) for since in (-1, 0, 7)]
    counts = [[len(x["state"]["events"]) for x in message["players"]] for message in sent]
    assert counts == [[26, 26], [0, 0], [0, 0]]


def test_pictures_sliders_and_dreams_fit_the_schema() -> None:
    images = Images(
        "i", (Picture(np.zeros((3, 4, 3), np.uint8)),), "", (Slider("s", "n", 0, 1, 1, None, 0),)
    )
    session = build_session(predictor=StaticPredictor((1, 10, 5)))
    session.history.entries[-1].packed_view = pack_view(View(images.pictures, (images,), ("why",)))
    ((info, _),) = read_moment(Lockstep([session]).moment(), "file")
    assert info["predictor"]
    session.close()


def places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value of a kind of its own: of lists their first item."""
    yield place
    items = data.items() if isinstance(data, dict) else enumerate(data[:1])
    for key, value in items:
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))
        else:
            yield *place, key


def changed(data: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    data = copy.copy(data)
    data[place[0]] = changed(data[place[0]], place[1:], value)
    return data


def test_a_value_of_another_kind_is_refused_wherever_it_is(saved: bytes) -> None:
    data = parsed(saved)
    data["players"] = data["players"][:1]
    data["players"][0]["entries"] = data["players"][0]["entries"][-1:]
    read_moment(packed(data), "file")
    where = list(places(data))
    assert len(where) > 50
    for place in where:
        others: tuple[Any, ...] = [[]], {"a": 1}, "<b>", -1.5, True
        for value in others:
            kept = data
            for key in place:
                kept = kept[key]
            if type(kept) is type(value) or (
                isinstance(kept, float | int | None) and value == -1.5
            ):
                continue
            if isinstance(kept, list) and value == [[]]:
                continue
            with pytest.raises(UsageError, match=r"^file is no moment of play \(.*\); choose"):
                read_moment(packed(changed(data, place, value)), "file")
    for place in (("players", 0, "extra"), ("players", 0, "entries", 0, "view", "html")):
        with pytest.raises(UsageError, match="lacks keys, or has others"):
            read_moment(packed(changed_key(data, place)), "file")


def changed_key(data: Any, place: tuple[Any, ...]) -> Any:
    data = copy.deepcopy(data)
    inside = data
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = 1
    return data


PNG = ("players", 0, "entries", 0, "view", "pictures", 0, "image")


def hostile(saved: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yield names, files and what the refusal says."""
    data = parsed(saved)
    image = data["players"][0]["entries"][0]["view"]["pictures"][0]["image"]
    large = base64.b64decode(image["png"])
    large = large[:16] + b"\0\0\xff\xff\0\0\xff\xff" + large[24:]
    yield "nothing", b"", "it is cut off"
    yield "no gzip", b"PK\3\4 a zip", "incorrect header"
    yield "cut off", saved[:-100], "it is cut off"
    yield "no JSON", gzip.compress(b"{"), "Expecting"
    yield "a bomb", gzip.compress(bytes(MAX_BYTES + 10)), "more than 40 MB"
    yield "too large", bytes(MAX_FILE_BYTES + 1), "more than 16 MB"
    yield "too deep", gzip.compress(b"[" * 100_000), "nested deeper"
    yield "a number too long", gzip.compress(b"1" * 5000), "integer"
    yield "not finite", gzip.compress(b'{"moment": NaN}'), "NaN"
    yield "another format", packed(data | {"moment": 2}), "a format other than 1"
    yield "no player", packed(data | {"players": []}), "0 players"
    yield (
        "three players",
        packed(data | {"players": [*data["players"], data["players"][0]]}),
        "3 pl",
    )
    empty = changed(data, ("players", 0, "entries"), [])
    yield "no timestep", packed(empty), "0 timesteps"
    twice = changed(data, ("players", 0, "entries", 1), data["players"][0]["entries"][0])
    yield "twice", packed(twice), "not consecutive"
    yield "huge picture", packed(changed(data, (*PNG, "size"), [65535, 65535])), "65535 x 65535"
    yield "other size", packed(changed(data, (*PNG, "size"), [7, 7])), "no PNG of 7 x 7"
    bomb = base64.b64encode(large).decode()
    yield "huge PNG", packed(changed(data, (*PNG, "png"), bomb)), "no PNG of 5 x 10"
    many = data["players"][0]["entries"][0]["view"]["pictures"] * 200
    yield "many pictures", packed(changed(data, PNG[:-2], many)), "200 pictures, more than 100"
    text = [0, 0, "x", "muted", "start"]
    texts = ("players", 0, "entries", 0, "view", "panels", 0, "drawing", "texts")
    yield "many texts", packed(changed(data, texts, [text] * 20_001)), "marks, more than 20,000"
    yield "no PNG", packed(changed(data, (*PNG, "png"), "<svg onload=alert(1)>")), "not in base64"
    yield "empty PNG", packed(changed(data, (*PNG, "png"), "")), "no PNG"


def test_hostile_files_are_refused_in_one_sentence(saved: bytes) -> None:
    seen = []
    for name, content, message in hostile(saved):
        with pytest.raises(UsageError, match=f"file .*{message}.*; choose a file that") as refused:
            read_moment(content, "file")
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 300
        seen.append(name)
    assert len(seen) == 21


def test_a_schema_names_the_place() -> None:
    assert mismatch({"a": [1, "x"]}, {"a": ["count"]}) == "it.a[1] is no count"
    assert mismatch({"a": [1, 2]}, {"a": ["count"]}) == ""
    assert mismatch([1], ("count", "text")) == "it has not 2 items"


def test_the_command_refuses_what_it_cannot_play(tmp_path: Path, capsys: Any, saved: bytes) -> None:
    file = tmp_path / "a.moment"
    file.write_bytes(saved)
    (tmp_path / "b.moment").write_bytes(b"<html>")
    for argv, message in (
        ([str(file), "--video", str(tmp_path / "a.mp4")], "as it was played; remove --video"),
        ([str(file), "runs/b"], "as it was played; remove runs/b"),
        *(
            ([str(file), *flag.split()], f"as it was played; remove {flag.split()[0]}, which has")
            for flag in (
                *("--agent a", "--mode dream", "--seed 1", "--max-horizon 3", "--device cpu"),
                "--threads 2",
            )
        ),
        ([str(tmp_path / "b.moment")], "is no moment of play"),
        ([str(tmp_path / "c.moment")], "cannot be read (No such file or directory)"),
    ):
        assert cli.main(["play", *argv]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_page_saves_a_moment_and_another_one_opens_it(saved: bytes, tmp_path: Path) -> None:
    """By the key, the button and by dropping the file; texts of a stranger stay texts."""
    data, markup = parsed(saved), "<img src=x onerror=alert(1)><b>bold</b>"
    for entry in data["players"][1]["entries"]:
        entry["view"]["untrained"] = [markup]
        entry["view"]["pictures"][0]["caption"] = markup
        entry["state"]["lastAction"] = markup
        entry["view"]["panels"] = copy.deepcopy(data["players"][0]["entries"][0]["view"]["panels"])
        entry["view"]["panels"][0]["drawing"]["texts"][0][2] = markup
    data["players"][1]["info"] |= {"player": markup, "run": markup, "env": markup}
    data["players"][0]["info"]["env"] = markup
    stranger = tmp_path / "stranger.moment"
    stranger.write_bytes(packed(data))
    with chromium() as browser:
        with serving(build_session(SMALL_PPO)) as (address, _), open_page(browser, address) as page:
            page.wait_for(lambda state: state.get("timestep", 0) > 12)
            page.page.keyboard.press("p")
            newest = page.wait_for(lambda state: not state["playing"])["newest"]
            with page.page.expect_download() as download:
                page.page.keyboard.press("s")
            file = tmp_path / download.value.suggested_filename
            download.value.save_as(file)
            assert file.name == f"catch-{newest}.moment"
            page.page.locator("#file").set_input_files(file)
            page.wait_for(lambda state: state["newest"] == newest and "showBoxes" not in state)
            page.wait_for(lambda state: state["timestep"] == newest)
            assert "saved moment" in page.page.locator("#hint").inner_text()
            page.page.locator(".timeline").press("Home")
            page.wait_for(lambda state: state["timestep"] == 0)
            assert "Policy" in page.page.locator(".panels").text_content()
            assert not page.page.locator("#manual").is_visible()
            page.page.locator("#file").set_input_files(stranger)
            page.wait_for(lambda state: state["lastAction"] == "" and len(page.states()) == 2)
            assert page.page.locator("img:not(h1 img), b, .stage script").count() == 0
            assert markup in page.page.locator(".stage").nth(1).inner_text()
            assert markup in page.page.locator(".panels").nth(1).text_content()
            (tmp_path / "bad.moment").write_bytes(b"<html>")
            page.page.locator("#file").set_input_files(tmp_path / "bad.moment")
            page.page.get_by_text("is no moment of play").wait_for()
            page.page.keyboard.press("c")
            page.wait_for(lambda state: "showBoxes" in state and len(page.states()) == 1)
            assert [x for x in page.errors if "400" not in x] == []
        ((info, history),) = read_moment(file.read_bytes(), "file")
        playback = Playback([(info, history)], closable=False)
        with serving(playback=playback) as (address, _), open_page(browser, address) as page:
            page.wait_for(lambda state: state.get("timestep") == newest)
            assert not page.page.locator("#close-moment").is_visible()
            assert page.errors == []


def test_a_damaged_picture_stops_neither_the_moment_nor_the_game(
    saved: bytes, tmp_path: Path
) -> None:
    """Its timestep is named, and the timeline has each event once all the same."""
    data = parsed(saved)
    image = data["players"][1]["entries"][3]["view"]["pictures"][0]["image"]
    content = bytearray(base64.b64decode(image["png"]))
    content[40:60] = bytes(20)
    image["png"] = base64.b64encode(content).decode()
    file = tmp_path / "damaged.moment"
    file.write_bytes(packed(data))
    session = build_session(SMALL_PPO)
    session.speed, session.max_horizon = 20, 0
    with (
        chromium() as browser,
        serving(session) as (address, _),
        open_page(browser, address, viewport={"width": 360, "height": 500}) as page,
    ):
        page.wait_for(lambda state: state.get("speed") == 20)
        speed = page.page.locator("#speed")
        assert speed.input_value() == "20", "as the command line has set it"
        values = speed.locator("option").evaluate_all("options => options.map(x => +x.value)")
        assert values == sorted(values)
        page.page.locator("#help").click()
        page.page.set_viewport_size({"width": 360, "height": 400})
        assert page.page.locator("#help-dialog").evaluate("dialog => dialog.scrollTop") == 0
        page.page.keyboard.press("Escape")

        page.page.locator("#file").set_input_files(file)
        page.wait_for(lambda state: "showBoxes" not in state)
        timeline = page.page.locator(".timeline").first
        timeline.focus()
        scrolled = page.page.evaluate("scrollY")
        for key, timestep in (("Home", 0), *(("ArrowRight", x) for x in (1, 2, 3))):
            page.page.keyboard.press(key)
            page.wait_for(lambda state, t=timestep: state["timestep"] == t)  # type: ignore[misc]
        page.page.get_by_text("timestep 3 cannot be shown").wait_for()
        page.page.keyboard.press("ArrowRight")
        page.wait_for(lambda state: state["timestep"] == 4)
        assert "cannot be shown" not in page.page.locator("#status").inner_text()
        assert page.page.evaluate("scrollY") == scrolled, "the keys move in time alone"
        headings = page.page.locator(".inspection h2")
        assert headings.all_inner_texts() == ["A · agent", "B · random policy"]
        page.page.keyboard.press("c")
        page.wait_for(lambda state: "showBoxes" in state)
        assert page.errors == []
