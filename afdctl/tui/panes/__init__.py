"""The panes: functions that draw a part of the screen from a snapshot, for any size."""
