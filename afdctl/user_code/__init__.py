"""A user's code by name, `path/to/file.py:Name` or `package.module:Name`: execute, record, and explain its errors."""
