"""Every key of a TOML text is found on its line."""

from afdctl.recipe.toml_places import lines
from afdctl.recipe.toml_source import parse

TEXT = """\
# a comment = 1
extends = "x"

[train]  # the loop
milestones = [
  50,  # one = 1
  80,
]
epochs = 2
[attack]
"name" = '''
[not.a.table]
'''
note = {a = 1, b.c = 2}
[data.more]
path = "p"
"""


def test_lines() -> None:
    assert lines(TEXT) == {
        ("extends",): 2,
        ("train",): 4,
        ("train", "milestones"): 5,
        ("train", "epochs"): 9,
        ("attack",): 10,
        ("attack", "name"): 11,
        ("attack", "note"): 14,
        ("attack", "note", "a"): 14,
        ("attack", "note", "b"): 14,
        ("attack", "note", "b", "c"): 14,
        ("data", "more"): 15,
        ("data", "more", "path"): 16,
    }


def test_lines_of_a_text_with_windows_line_ends_and_no_last_one() -> None:
    assert lines("a = 1\r\n\r\nb = 2") == {("a",): 1, ("b",): 3}


ARRAYS = """\
title = "x"
[[attack]]
name = "a"
[attack.more]
steps = 1
[[attack]]
name = "b"
[[attack.part]]
one = 1
[[attack.part]]
two = 2
[other]
name = "c"
"""


def test_entries_of_arrays_of_tables_are_numbered() -> None:
    assert lines(ARRAYS) == {
        ("title",): 1,
        ("attack",): 2,
        ("attack", 0): 2,
        ("attack", 0, "name"): 3,
        ("attack", 0, "more"): 4,
        ("attack", 0, "more", "steps"): 5,
        ("attack", 1): 6,
        ("attack", 1, "name"): 7,
        ("attack", 1, "part"): 8,
        ("attack", 1, "part", 0): 8,
        ("attack", 1, "part", 0, "one"): 9,
        ("attack", 1, "part", 1): 10,
        ("attack", 1, "part", 1, "two"): 11,
        ("other",): 12,
        ("other", "name"): 13,
    }


def test_a_table_of_an_array_keeps_the_places_of_its_keys() -> None:
    table = parse(ARRAYS, "s.toml").table("attack", 1)
    assert table.values["name"] == "b"
    assert table.where["name",] == "s.toml:7: "
    assert table.where[()] == "s.toml:6: "
