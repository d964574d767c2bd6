"""Event files of TensorBoard, written with its own library and without torch or TensorFlow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from afdctl.export.trackers.points import Point, TrackerWriter

# what tells our files from those of another program in the same folder
SUFFIX = ".afdctl"


class TensorBoard(TrackerWriter):
    """Writes `folder/name/events.out.tfevents...`, in place of what an earlier export wrote there."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        self.folder = folder / name
        for earlier in self.folder.glob(f"events.out.tfevents.*{SUFFIX}"):
            earlier.unlink()
        self._writer = EventFileWriter(str(self.folder), filename_suffix=SUFFIX)
        text = "\n".join(f"    {key} = {json.dumps(value, ensure_ascii=False)}" for key, value in config.items())
        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        recipe = Summary(value=[Summary.Value(tag="recipe", tensor=tensor, metadata=plugin)])
        self._writer.add_event(Event(step=0, summary=recipe))

    def write(self, point: Point) -> None:
        """Add a scalar for each value."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.values.items()]
        self._writer.add_event(Event(wall_time=point.t, step=point.step, summary=Summary(value=values)))

    def restart(self, step: int) -> None:
        """Write the mark at which TensorBoard drops later steps, as after a restart of its own programs."""
        self._writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def flush(self) -> None:
        """Write what is buffered."""
        self._writer.flush()

    def close(self) -> str:
        """Close the file and return its folder."""
        self._writer.close()
        return str(self.folder)
