"""The page of a recording: its frames, timeline and film strip, offline and in bounds."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.recorded import RecordedConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.interchange.foreign_manifest import foreign_manifest
from reverie.experiments.interchange.recorded_episodes import Episode, Source, spans_of
from reverie.experiments.interchange.recording_page import SHEET_FRAMES, shown_steps, write_page
from reverie.experiments.interchange.recording_writer import write_recording

from play_fixtures import chromium


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def data_of(path: str) -> dict[str, Any]:
    found = re.search(r'id="recording">(.*?)</script>', Path(path).read_text(), re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def long_recording(length: int = 600) -> Recording:
    """One episode, whose frames are the number of their step in gray levels, with two lives."""
    steps = np.arange(length + 1)
    frames = np.zeros((length + 1, 1, 4, 6), np.uint8)
    frames[:, 0, 0, 0], frames[:, 0, 1, 1] = steps // 256, steps % 256
    reward, discount = np.zeros(length), np.ones(length, np.float32)
    reward[[9, 299]], discount[[99, length - 1]] = (2.0, -1.0), 0
    episode = Episode(frames, steps % 3, reward, discount)
    manifest = foreign_manifest("</script><b>", 3, (1, 4, 6), "</script> & <b>", policy="<i>me</i>")
    write_recording(Path("data"), Source(manifest, iter([episode]), {}), {"command": "<script>"})
    return Recording("data")


def test_sheets_hold_the_frames_that_the_steps_name() -> None:
    recording = long_recording()
    shown = write_page(recording, Path("page.html"), max_frames=500)
    (episode,) = data_of("page.html")["episodes"]
    assert shown == len(episode["steps"]) <= 500
    assert episode["steps"] == [*range(0, 600, 2), 600]
    assert episode["rewards"] == [[10, 2.0], [300, -1.0]]
    assert (episode["lost"], episode["end"], episode["total"]) == ([100], "death", 1.0)
    for number, url in enumerate(episode["sheets"]):
        png = io.BytesIO(base64.b64decode(url.partition(",")[2]))
        sheet = np.asarray(Image.open(png)).astype(int)
        for i, step in enumerate(episode["steps"][number * SHEET_FRAMES :][:SHEET_FRAMES]):
            y, x = 4 * (i // 16), 6 * (i % 16)
            assert sheet[y, x] * 256 + sheet[y + 1, x + 1] == step


@pytest.mark.parametrize("num_frames", [1, 2, 3, 10, 99, 1000])
@pytest.mark.parametrize("share", [2, 3, 10, 50])
def test_steps_are_evenly_spaced_and_the_last_is_shown(num_frames: int, share: int) -> None:
    steps = shown_steps(num_frames, share)
    assert len(steps) <= share
    assert steps[-1] == num_frames - 1
    assert len({*np.diff(steps[:-1])}) <= 1
    assert num_frames > share or steps.tolist() == list(range(num_frames))


def test_episodes_are_chosen_evenly_and_text_is_escaped() -> None:
    collect(RandomPolicy(3), CatchConfig(), "catch", frames=400, num_envs=2)
    recording = Recording("catch")
    write_page(recording, Path("page.html"), episodes=5, max_frames=30)
    episodes = data_of("page.html")["episodes"]
    last = len(spans_of(recording).all) - 1
    assert [int(x["name"]) for x in episodes] == [round(i * last / 4) for i in range(5)]
    assert sum(len(x["steps"]) for x in episodes) <= 30
    assert isinstance(long_recording().manifest.env, RecordedConfig)
    assert cli.main(["data", "show", "data", "--html", "page.html", "--episodes", "1"]) == 0
    text = Path("page.html").read_text()
    assert text.count("<script") == text.count("</script>") == 2
    assert "<b>" not in text
    assert "<i>me" not in text
    assert not re.findall(r'(?:src|href)="(?!#)(?!data:)', text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1920, "light")])
def test_the_page_plays_and_its_timeline_is_clicked(browser: Any, width: int, scheme: str) -> None:
    write_page(long_recording(), Path("page.html"), max_frames=2000)
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda x: problems.extend([x.text] * (x.type == "error")))
    page.goto(Path("page.html").resolve().as_uri())

    def fact(name: str) -> str:
        return str(page.inner_text(f"dt:text-is('{name}') + dd"))

    def step_on_screen() -> int:
        """Read the number of the step from the pixels of the frame."""
        high, low = page.evaluate(
            """() => { const context = document.querySelector(".screen").getContext("2d");
            return [[0, 0], [1, 1]].map(([x, y]) => context.getImageData(x, y, 1, 1).data[0]); }"""
        )
        return int(256 * high + low)

    def check(step: int) -> None:
        page.wait_for_function(
            f"document.querySelector('dd').textContent === '{step} of 600'", timeout=5000
        )
        page.wait_for_timeout(50)
        assert step_on_screen() == step

    check(0)
    page.keyboard.press("ArrowRight")
    check(1)
    box = page.locator("svg").bounding_box()
    page.locator("svg").click(position={"x": box["width"] / 2, "y": 20})
    page.wait_for_function("document.querySelector('dd').textContent !== '1 of 600'")
    clicked = int(fact("step").split()[0])
    assert abs(clicked - 300) <= 600 / box["width"] + 1, "within a pixel"
    for _ in range(abs(clicked - 300)):
        page.keyboard.press("ArrowLeft" if clicked > 300 else "ArrowRight")
    check(300)
    assert fact("reward") == "-1"
    assert fact("return so far") == "1 of 1"
    page.locator(".strip button").last.click()
    check(600)
    assert fact("action") == "none: death"
    page.select_option("select", "60")
    page.click("button:text-is('Play')")
    page.wait_for_function("document.querySelector('dd').textContent !== '600 of 600'")
    page.click("button:text-is('Pause')")
    assert 0 <= step_on_screen() < 600
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not problems
    context.close()
