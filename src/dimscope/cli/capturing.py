"""The command that keeps the activations of a network on disk, and what it shares."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimscope.cli.options import ImageSizeOption, LabelsOption, MemoryOption, SeedOption
from dimscope.cli.output import say
from dimscope.cli.parsing import bytes_from, data_from, existing
from dimscope.cli.progress import Bar
from dimscope.errors import DimscopeError

if TYPE_CHECKING:
    from dimscope import Plan

__all__ = [
    "capture",
    "existing_data",
    "network_from",
    "one_or_several",
    "refuse_for_a_store",
    "tell_plan",
]

_COURTESY = 10.0  # seconds that rank 0 has to say what is wrong


def capture(
    model: Annotated[
        str, typer.Argument(help="torchvision/NAME, timm/NAME, hf/NAME or FILE.py:FUNCTION")
    ],
    data: Annotated[Path, typer.Option(help="an image folder (one folder a class) or a .npy file")],
    out: Annotated[str, typer.Option(help="the store: a folder, or a URL that fsspec opens")],
    weights: Annotated[
        str | None, typer.Option(help="a file of weights, or 'random' for an untrained network")
    ] = None,
    labels: LabelsOption = None,
    image_size: ImageSizeOption = 224,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            help="checkpoints, all, last_hidden, a name or a pattern such as 'layer?'; for several "
            "repeat the option"
        ),
    ] = None,
    n_points: Annotated[int | None, typer.Option(min=3, help="points drawn from the data")] = None,
    per_class: Annotated[int | None, typer.Option(min=3, help="points drawn of each class")] = None,
    readout: Annotated[str, typer.Option(help="flatten, mean, first or last")] = "flatten",
    batch_size: Annotated[int, typer.Option(min=1, help="points run at a time")] = 32,
    memory: MemoryOption = None,
    seed: SeedOption = 0,
    name: Annotated[str | None, typer.Option(help="name of the network")] = None,
) -> None:
    """Keep the points of every layer of a network in a store; run it again to resume.

    Under torchrun every rank captures its share.
    """
    import dimscope as ds

    shown = data_from(data, labels, image_size)
    budget = bytes_from(memory)
    ran = False
    if "://" not in out:
        existing(Path(out).absolute().parent, "--out")
    from dimscope.capturing.ranks import joined  # loads torch: not before the call is sound

    with _one_voice(), joined(out) as ranks:
        with ranks.together():
            network = network_from(model, weights, seed)
            if ranks.device is not None:
                network = network.to(ranks.device)
        with Bar() as bar:

            def running(done: int, total: int | None) -> None:
                nonlocal ran
                ran = True
                bar("running the network", done, total)

            found = ds.capture(
                network,
                shown,
                one_or_several(layers),
                readout=readout,
                n_points=n_points,
                per_class=per_class,
                batch_size=batch_size,
                seed=seed,
                name=name or model,
                memory=budget,
                out=out,
                progress=running,
                on_plan=tell_plan,
            )
        did = "written" if ran else "complete already"
        say(f"{did}: {out}, {len(found)} layers of {found.n_points} points")
        for layer, reason in found.failures.items():
            say(f"{layer}: {reason}")


@contextmanager
def _one_voice() -> Iterator[None]:
    """Have rank 0 speak for all ranks that torchrun started: they fail together or not at all."""
    if os.environ.get("RANK", "0") == "0" or "MASTER_ADDR" not in os.environ:
        yield
        return
    try:
        with open(os.devnull, "w") as silence, redirect_stdout(silence), redirect_stderr(silence):
            yield
    except (DimscopeError, typer.BadParameter):
        # The first rank that fails has torchrun end the others, so leave that to rank 0.
        time.sleep(_COURTESY)
        raise SystemExit(1) from None


def existing_data(data: Path | None, model: str) -> Path:
    """Refuse a network without data."""
    if data is None:
        raise typer.BadParameter(
            f"give the data that the network is shown, or a store as MODEL ({model} is none)",
            param_hint="--data",
        )
    return data


def refuse_for_a_store(given: dict[str, Any]) -> None:
    """Refuse options that were settled when a store was captured."""
    for option, value in given.items():
        if value:
            raise typer.BadParameter(
                "MODEL is a store, captured already: leave this out",
                param_hint=f"--{option.replace('_', '-')}",
            )


def network_from(model: str, weights: str | None, seed: int) -> Any:
    """Load the network that MODEL means."""
    import dimscope as ds

    try:
        return ds.load_model(model, weights=weights, seed=seed)
    except DimscopeError as error:
        raise typer.BadParameter(str(error), param_hint="MODEL") from None


def one_or_several(layers: list[str] | None) -> Any:
    """What ``--layers`` means."""
    if not layers:
        return "checkpoints"
    return layers[0] if len(layers) == 1 else layers


def tell_plan(plan: Plan) -> None:
    """Say on standard error what goes to disk."""
    if plan.how != "memory":
        typer.echo(f"plan: {plan}", err=True)
