"""What is left of a dashboard that failed: one line for its user, and a file with the details for who mends it."""

import os
import tempfile
import traceback

from afdctl.errors import AfdctlError


class CrashError(AfdctlError):
    """The dashboard failed; trainings are other processes and do not notice."""


def reported(error: Exception) -> CrashError:
    """Write the details of an error into a new file, and return the error that names it."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="afdctl-dashboard-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
    except OSError as failed:
        path = f"nowhere ({(failed.strerror or str(failed)).lower()})"
    name = type(error).__name__
    return CrashError(f"the dashboard failed ({name}), and no training was touched; the details are in {path}")
