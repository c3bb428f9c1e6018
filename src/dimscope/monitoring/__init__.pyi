"""Public names of monitoring and where they live; loaded at first use."""

from .alarms import Alarm, Alarms
from .history import Average, Drift, Snapshot
from .lightning import IDCallback
from .loss import id_loss
from .metric import IDMetric
from .monitor import IDMonitor
from .schedule import Every, LogSpaced, Schedule
from .trackers import (
    AccelerateTracker,
    CSVTracker,
    MLflowTracker,
    TensorBoardTracker,
    Tracker,
    WandbTracker,
)
from .transformers import IDTrainerCallback

__all__ = [
    "AccelerateTracker",
    "Alarm",
    "Alarms",
    "Average",
    "CSVTracker",
    "Drift",
    "Every",
    "IDCallback",
    "IDMetric",
    "IDMonitor",
    "IDTrainerCallback",
    "LogSpaced",
    "MLflowTracker",
    "Schedule",
    "Snapshot",
    "TensorBoardTracker",
    "Tracker",
    "WandbTracker",
    "id_loss",
]
