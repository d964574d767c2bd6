"""What is left of a dashboard that failed: one line for its user, and a file with the details for who mends it."""

import os
import tempfile
import traceback

from afdctl.errors import AfdctlError


class CrashError(AfdctlError):
    """The dashboard failed; trainings are other processes and do not notice."""


def reported(error: BaseException | None) -> CrashError:
    """Write the details of an error into a new file, and return the error that names it."""
    name = type(error).__name__ if error else "an unknown error"
    details = "".join(traceback.format_exception(error)) if error else name
    try:
        descriptor, path = tempfile.mkstemp(prefix="afdctl-dashboard-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(details)
    except OSError as failed:
        path = f"nowhere ({(failed.strerror or str(failed)).lower()})"
    return CrashError(f"the dashboard failed ({name}), and no training was touched; the details are in {path}")
