"""The files that an earlier version wrote: how they were made, and what loading them gives."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dimscope as ds
from dimscope import manifolds
from recorded import networks
from recorded.casebook import classes
from recorded.plain import (
    activations,
    differences,
    frame,
    noted,
    plain,
    profile,
    refusal,
    stored_files,
)

FILES = Path(__file__).parent / "files"
PROFILES = ("plain", "several", "by_class")
STORES = ("complete.zarr", "interrupted.zarr")  # as archives: the labels take a chunk of 512 KB
STOPPED_AFTER = 16  # rows, of 40


class Stopped(Exception):
    """What ends a capture in its midst."""


def capture_kept(out: str, progress: Callable[..., object] | None = None) -> ds.Activations:
    """The capture whose store is kept, complete and interrupted."""
    words = np.array(["ant", "bee", "cat"])[np.arange(40) % 3]
    inputs = networks.mlp_inputs(40, seed=60)
    return ds.capture(
        networks.mlp(), (inputs, words), batch_size=8, name="kept", out=out, progress=progress
    )


def make(folder: Path) -> None:
    """Write all files anew; they are kept, and made again only for another format."""
    cloud = manifolds.torus(200, 2, seed=61)
    layers = {"input": cloud, "wide": np.column_stack([cloud, cloud**2]), "same": np.ones((200, 3))}
    by_hand = ds.Activations(layers, name="by hand")
    ds.profile(by_hand).save(folder / "plain.json")
    several = [
        ds.TwoNN(fit="regression", discard=0),
        ds.Resampled(ds.Gride(2, 4), n=4),
        ds.MLE(8),
        ds.PCA(variance=0.8),
        ds.ParticipationRatio(normalized=True),
    ]
    ds.profile(by_hand, None, several, name="several").save(folder / "several.json")
    ds.profile(classes(), None, [ds.TwoNN(), ds.PCA()], by_class=True).save(
        folder / "by_class.json"
    )

    def stop(done: int, total: int | None) -> None:
        if done == STOPPED_AFTER:
            raise Stopped

    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        capture_kept("complete.zarr")
        with contextlib.suppress(Stopped):
            capture_kept("interrupted.zarr", stop)
        for name in STORES:
            shutil.make_archive(str(folder / name), "zip", name)


@contextlib.contextmanager
def copied() -> Iterator[None]:
    """Work in a copy of the files, so that the kept ones stay as they are."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in PROFILES:
            shutil.copy(FILES / f"{name}.json", folder)
        for name in STORES:
            shutil.unpack_archive(FILES / f"{name}.zip", name)
        yield


def loaded_profiles() -> dict[str, Any]:
    """What the kept profiles hold."""
    found: dict[str, Any] = {}
    with copied():
        for name in PROFILES:
            one = ds.Profile.load(f"{name}.json")
            found[name] = {
                "profile": profile(one),
                "table": frame(one.to_frame()),
                "simultaneous": plain(one.simultaneous()),
            }
    return found


def profiles_written_again() -> list[bool]:
    """Whether the kept profiles, loaded and saved, keep every entry as it was written."""
    found = []
    with copied():
        for name in PROFILES:
            ds.Profile.load(f"{name}.json").save("again.json")
            again, before = (
                json.loads(Path(f"{file}.json").read_bytes()) for file in ("again", name)
            )
            found.append(not differences(again, before, 0.0))
    return found


def opened_stores() -> dict[str, Any]:
    """What the kept stores hold, the complete and the interrupted."""
    notes: list[list[str]] = []
    with copied(), noted(notes):
        journal = json.loads(Path("interrupted.zarr/journal.json").read_text(encoding="utf-8"))
        complete = ds.open_store("complete.zarr")
        again = capture_kept("complete.zarr", _refuse)
        return {
            "complete": {
                **activations(complete),
                "text": repr(complete),
                "provenance": plain(complete.provenance),
                "files": stored_files("complete.zarr"),
                "profile": profile(ds.profile("complete.zarr")),
                "same when captured again": activations(again) == activations(complete),
            },
            "interrupted": {
                "opened": refusal(lambda: ds.open_store("interrupted.zarr")),
                "other": refusal(
                    lambda: ds.capture(
                        networks.mlp(), networks.mlp_inputs(40), out="interrupted.zarr"
                    )
                ),
                "rows": [journal["rows"], journal["batches"], journal["n_points"]],
                "files": sorted(stored_files("interrupted.zarr")),
            },
        }


def _refuse(*step: Any) -> None:
    raise AssertionError("the network ran again")


def resumed_store() -> dict[str, Any]:
    """What the interrupted store becomes when its capture is called again."""
    told: list[list[Any]] = []
    with copied():
        found = capture_kept("interrupted.zarr", lambda *step: told.append(list(step[-2:])))
        fresh = capture_kept("fresh.zarr")
        return {
            "resumed": activations(found),
            "fresh": activations(fresh),
            "files": stored_files("interrupted.zarr"),
            "fresh files": stored_files("fresh.zarr"),
            "about": about("interrupted.zarr") == about("fresh.zarr"),
            "progress": told,
        }


def about(store: str) -> Any:
    """What a store says of itself."""
    text = Path(store, "zarr.json").read_text(encoding="utf-8")
    return json.loads(text)["attributes"]["dimscope"]


LOADS: dict[str, Callable[[], Any]] = {
    "profiles": loaded_profiles,
    "profiles written again": profiles_written_again,
    "stores": opened_stores,
    "resumed": resumed_store,
}
