"""Test the README's recording and the script that makes it."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from afdctl.tui.drawing.svg import draw_row
from docs import record_dashboard
from docs.record_dashboard import Shot, compose, even, shots
from tests.tui import journals
from tests.tui.conftest import screen

RECORDING = Path(record_dashboard.__file__).with_name("recording.svg")
SECONDS = (0.2, 0.2, 0.9, 0.3)


@pytest.fixture(scope="module")
def four() -> list[Shot]:
    """A training, its end, a training again, whose elements return, and a sweep."""
    rows = [
        journals.training(100),
        journals.training(),
        journals.training(100),
        [*journals.training(), *journals.sweep(9)],
    ]
    return [(screen(part, 80, 24).cells, seconds) for part, seconds in zip(rows, SECONDS, strict=True)]


def shown(picture: str, share: float) -> list[str]:
    """Return the elements that are visible after this share of the animation."""
    found = []
    for name, attributes, group in re.findall(r'<g class="(f\S+)"(.*?)>\n(.*?)</g>', picture, re.S):
        state = "hidden" if attributes else "visible"
        if share >= 0 and (frames := re.search(rf"@keyframes {name}{{(.*?)}}}}", picture)):
            begun = re.findall(r"([\d.]+)%{visibility:(\w+)", frames[1])
            state = [word for begin, word in begun if float(begin) <= 100 * share][-1]
        found += group.splitlines() if state == "visible" else []
    return sorted(found)


def test_each_frame_has_its_elements_at_its_time(four: list[Shot]):
    picture = compose(four, "a & b")
    ElementTree.fromstring(picture)
    drawn = [sorted(e for y in range(cells.height) for e in draw_row(cells, y)) for cells, _ in four]
    middles = [(sum(SECONDS[:place]) + seconds / 2) / sum(SECONDS) for place, seconds in enumerate(SECONDS)]
    assert [shown(picture, share) for share in middles] == drawn
    assert shown(picture, -1) == drawn[2], "without animations the longest frame is shown"


def test_what_does_not_change_is_in_the_file_once(four: list[Shot]):
    picture = compose(four, "a")
    assert picture.count(">mnist_wgan-001<") == 1
    assert picture.index("<path") > picture.rindex("<rect"), "no background covers a curve"


def test_the_frames_are_a_training_and_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record_dashboard, "TRAINING_FRAMES", 3)
    monkeypatch.setattr(record_dashboard, "SWEEP_FRAMES", 2)
    run = journals.write(tmp_path / "digits-001", [*journals.training(), *journals.sweep(16)])
    found = [(cells.text(), seconds) for cells, seconds in shots(run)]
    states = ["training", "training", "finished", "sweeping", "swept"]
    for (text, _), state in zip(found, states, strict=True):
        assert f"digits-001  {'✔' if state in ('finished', 'swept') else '●'} {state}" in text
    assert [seconds > 1 for _, seconds in found] == [False, False, True, False, True]


def test_frames_are_even_and_differ():
    assert even(10, 20, 4) == [13, 15, 18, 20]
    assert even(10, 13, 10) == [11, 12, 13], "a short part has fewer frames"


def test_the_recording_can_be_shown_by_a_page_that_loads_nothing_else():
    picture = RECORDING.read_text()
    ElementTree.fromstring(picture)
    assert len(picture.encode()) < record_dashboard.MAX_BYTES
    assert not re.search(r"<script|<foreignObject|href|url\(|@import", picture)
    assert 15 <= float(re.findall(r"animation:\S+ ([\d.]+)s ", picture)[0]) <= 25


def test_the_recording_shows_no_path_and_no_process():
    words = re.sub("<[^>]*>", " ", RECORDING.read_text().partition("</style>")[2])
    assert not re.search(r"[/~]\w+/|\bpid\b|\bcores?\b", words)
