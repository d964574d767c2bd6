"""Every key of a TOML text is found on its line."""

from afdctl.recipe.toml_source import lines

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
