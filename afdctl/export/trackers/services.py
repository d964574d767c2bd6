"""wandb, trackio and mlflow. Offline unless their environment variables name a server."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from afdctl.export.trackers.points import Point, TrackerWriter

PROJECT = "afdctl"
# the axis of wandb's charts: its own steps must rise, and those of a resumed training do not
STEP = "step"
# mlflow's limits of a batch, and what its names may not contain, such as the + of an attack's label
MLFLOW_METRICS, MLFLOW_PARAMS = 1000, 100
MLFLOW_REFUSED = re.compile(r"[^\w\-. :/]", re.ASCII)


def batched(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of up to `size` values."""
    values = iter(values)
    while batch := list(islice(values, size)):
        yield batch


class Wandb(TrackerWriter):
    """Writes an offline run to `folder/wandb`, which `wandb sync` uploads; WANDB_MODE=online uploads at once."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            config=dict(config),
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )
        self._run.define_metric("*", step_metric=STEP)

    def write(self, point: Point) -> None:
        """Log the values of a step."""
        self._run.log({**point.values, STEP: point.step})

    def close(self) -> str:
        """Finish the run and return its folder."""
        # .../run-<time>-<id>/files
        folder = Path(self._run.dir).parent
        self._run.finish()
        return str(folder)


class Trackio(TrackerWriter):
    """Writes to trackio's database in `folder/trackio`; TRACKIO_DIR names another one."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        # read when the library is imported
        os.environ.setdefault("TRACKIO_DIR", str((folder / "trackio").resolve()))
        import trackio

        self._trackio = trackio
        trackio.init(
            project=PROJECT, name=name, config=dict(config), embed=False, auto_log_gpu=False, auto_log_cpu=False
        )

    def write(self, point: Point) -> None:
        """Log the values of a step."""
        self._trackio.log(dict(point.values), step=point.step)

    def close(self) -> str:
        """Finish the run and return the database's folder."""
        self._trackio.finish()
        return os.environ["TRACKIO_DIR"]


class MLflow(TrackerWriter):
    """Writes to the database `folder/mlflow.db`; MLFLOW_TRACKING_URI names a server."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        folder.mkdir(parents=True, exist_ok=True)
        self.uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').resolve()}")
        self._client = MlflowClient(self.uri)
        experiment = self._client.get_experiment_by_name(PROJECT)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(experiment_id, run_name=name).info.run_id
        self._metric, self._waiting = Metric, list[Any]()
        for values in batched(config.items(), MLFLOW_PARAMS):
            params = [Param(MLFLOW_REFUSED.sub("_", key), str(value)) for key, value in values]
            self._client.log_batch(self._run, params=params)

    def write(self, point: Point) -> None:
        """Keep the values of a step until there are enough for a batch: one costs a transaction, 0.1 s measured."""
        t = int(1000 * point.t)
        self._waiting += [
            self._metric(MLFLOW_REFUSED.sub("_", name), value, t, point.step) for name, value in point.values.items()
        ]
        if len(self._waiting) >= MLFLOW_METRICS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for metrics in batched(self._waiting, MLFLOW_METRICS):
            self._client.log_batch(self._run, metrics=metrics)
        self._waiting = []

    def close(self) -> str:
        """Finish the run and return the address of the store."""
        self.flush()
        self._client.set_terminated(self._run)
        return self.uri
