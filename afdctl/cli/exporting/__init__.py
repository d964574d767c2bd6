"""The modes of `afdctl export`: one file and one function each."""
