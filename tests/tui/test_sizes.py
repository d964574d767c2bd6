"""Test frames of every size and colour depth against golden texts, which AFDCTL_GOLDEN=1 rewrites."""

import os
import re
from pathlib import Path

import pytest

from afdctl.tui.drawing.cells import ROLES, Depth, Palette
from afdctl.tui.drawing.svg import to_svg
from afdctl.tui.layout import compute_layout, tier
from afdctl.tui.screen import compose_frame
from afdctl.tui.view import Settings, View
from tests.tui import journals
from tests.tui.conftest import screen, snapshot

FRAMES = Path(__file__).parent / "frames"
SIZES = [(220, 60), (150, 44), (110, 34), (100, 30), (80, 24), (70, 40), (60, 20), (50, 14), (40, 10), (20, 5)]


def golden(name: str, found: str) -> None:
    path = FRAMES / f"{name}.txt"
    if os.environ.get("AFDCTL_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found + "\n")
    assert found + "\n" == path.read_text()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_picture_of_a_running_training(width: int, height: int):
    golden(f"running-{width}x{height}", screen(journals.training(620), width, height, pid=48121).cells.text())


@pytest.mark.parametrize(("width", "height"), [(150, 44), (80, 24), (40, 10)])
def test_the_picture_of_a_sweep(width: int, height: int):
    rows = [*journals.training(), *journals.sweep(9)]
    golden(f"sweep-{width}x{height}", screen(rows, width, height, pid=48121).cells.text())


@pytest.mark.parametrize("depth", ["256", "none"])
def test_the_picture_with_few_colours(depth: Depth):
    found = compose_frame(snapshot(journals.training(620), pid=48121), 100, 30, Palette(depth=depth)).cells
    golden(f"running-100x30-{depth}", found.text())
    colours = {style.color.name for style in found.palette.styles if style.color}
    grounds = {style.bgcolor.name for style in found.palette.styles if style.bgcolor}
    if depth == "none":
        assert not colours | grounds
    else:
        exact = {ROLES[role][1] for role in ROLES}
        assert colours <= exact
        assert grounds == {ROLES["ground"][1]}, "a tinted ground is loud in 256 colours"


@pytest.mark.parametrize("role", ROLES)
def test_colours_for_256_are_colours_of_the_256(role: str):
    steps = {0, 95, 135, 175, 215, 255} | {8 + 10 * n for n in range(24)}
    for colour in ROLES[role][1::2]:
        assert {int(colour[at : at + 2], 16) for at in (1, 3, 5)} <= steps


@pytest.mark.parametrize("place", range(4))
def test_text_can_be_read_on_its_ground(place: int):
    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ground = light(ROLES["ground"][place])
    for role in set(ROLES) - {"ground", "frame", "faint"}:
        one, other = sorted([ground, light(ROLES[role][place])])
        assert (other + 0.05) / (one + 0.05) > 4, role


@pytest.mark.parametrize("width", [1, 5, 19, 39, 40, 59, 60, 75, 76, 109, 110, 199, 200, 300])
@pytest.mark.parametrize("height", [1, 2, 7, 8, 15, 16, 33, 34, 50, 90])
def test_every_size_is_filled_without_overlaps(width: int, height: int):
    for view in (
        View(),
        View(Settings(hidden=("health", "log"))),
        View(side="accuracy"),
        View(side="log"),
        View(log="off"),
    ):
        places = compute_layout(width, height, view, charts=9)
        taken: set[tuple[int, int]] = set()
        for place in places.values():
            cells = {
                (x, y) for x in range(place.x, place.x + place.width) for y in range(place.y, place.y + place.height)
            }
            assert not cells & taken
            assert place.x + place.width <= width
            assert place.y + place.height <= height
            taken |= cells


@pytest.mark.parametrize("rows", [[], [dict(journals.RUN)], journals.training(3)], ids=["empty", "begun", "three"])
@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (3, 2), (20, 5), (40, 8), (41, 9), (60, 16), (76, 16), (110, 34)]
)
def test_any_size_can_be_drawn_from_the_first_moment(rows: list, width: int, height: int):
    for view in (View(), View(Settings(axis="time", log_y=True)), View(Settings(axis="epoch", window="last 10 %"))):
        cells = screen(rows, width, height, view=view).cells
        assert (cells.width, cells.height) == (width, height)


def test_the_tiers():
    assert [tier(*size) for size in SIZES] == [
        "wall",
        "full",
        "full",
        "compact",
        "compact",
        "column",
        "column",
        "one",
        "one",
        "status",
    ]


def test_a_status_fits_twenty_cells():
    lines = screen(journals.training(620), 20, 5, pid=1).cells.text().splitlines()
    assert re.match(r"● training 62% 00:4\d", lines[0])
    assert lines[1:] == ["step 620/1,000", "APGD 83.3% no AA", "D acc 0.500", "L_C 0.150"]


def test_the_svg_draws_every_cell_without_a_font_for_dots():
    found = screen(journals.training(620))
    picture = to_svg(found.cells, "a & b")
    assert "<title>a &amp; b</title>" in picture
    assert not re.search("[⠀-⣿▁-█━─│╭╮╰╯┈╌]", picture)
    words = re.sub("<[^>]*>", " ", picture)
    for word in ("mnist_wgan-001", "discriminator", "Health", "d_HΔH"):
        assert word in words
    assert picture.count("<path") > 100


def test_the_svg_without_colours_is_black_and_white():
    picture = to_svg(compose_frame(snapshot(journals.training(100)), 80, 24, Palette(depth="none", dark=False)).cells)
    colours = set(re.findall(r"#[0-9a-f]{6}", picture))
    assert colours <= {"#ffffff", "#222222", "#888888"}
