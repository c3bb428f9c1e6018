"""Cases of networks, and of stores of their layers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import dimscope as ds
from recorded import networks
from recorded.casebook import case, classes, empty_folder
from recorded.plain import (
    activations,
    noted,
    plain,
    refusal,
    stored_files,
    with_warnings,
)


@case()
def layers_of_an_mlp_by_every_choice() -> Any:
    choices: dict[str, Any] = {
        "checkpoints": "checkpoints",
        "all": "all",
        "last_hidden": "last_hidden",
        "name": "0",
        "names": ["input", "3", "4"],
        "pattern": "?",
        "mixed": ["checkpoints", "1"],
        "function": lambda layer: layer.n_features in (12, 6),
    }
    network, inputs = networks.mlp(), networks.mlp_inputs(40)
    found = {name: activations(ds.capture(network, inputs, one)) for name, one in choices.items()}
    refused = {
        "unknown": refusal(lambda: ds.capture(network, inputs, "layer4")),
        "no match": refusal(lambda: ds.capture(network, inputs, ["x*"])),
        "empty": refusal(lambda: ds.capture(network, inputs, [])),
        "number": refusal(lambda: ds.capture(network, inputs, 3)),
    }
    return {"found": found, "refused": refused}


@case()
def layers_of_a_residual_network_with_every_readout() -> Any:
    network, inputs = networks.ResidualNet(), networks.images(24)
    found = {
        f"{layers} {readout}": activations(ds.capture(network, inputs, layers, readout=readout))
        for layers, readout in (
            ("checkpoints", "flatten"),
            ("checkpoints", "mean"),
            ("all", "flatten"),
            ("blocks.*", "mean"),
            ("last_hidden", "first"),
        )
    }
    found["function"] = activations(
        ds.capture(network, inputs, "blocks.1", readout=lambda tensor: tensor.amax(dim=(2, 3)))
    )
    return {
        "found": found,
        "refused": refusal(lambda: ds.capture(network, inputs, readout="median")),
    }


@case()
def readouts_of_a_network_of_tokens() -> Any:
    ids = torch.from_numpy(np.random.default_rng(48).integers(0, 50, (30, 4)))
    network = networks.Tokens()
    return {
        readout: activations(ds.capture(network, ids, "all", readout=readout, batch_size=7))
        for readout in ("flatten", "mean", "first", "last")
    }


@case()
def every_kind_of_data_for_a_capture() -> Any:
    from torch.utils.data import DataLoader, TensorDataset

    network, inputs = networks.mlp(), networks.mlp_inputs(50)
    labels = np.random.default_rng(49).integers(0, 3, 50)
    words = np.array(["ant", "bee", "cat"])[labels]
    dataset = TensorDataset(inputs, torch.from_numpy(labels))
    batches = [(inputs[i : i + 20], labels[i : i + 20]) for i in range(0, 50, 20)]
    calls: dict[str, Callable[[], ds.Activations]] = {
        "tensor": lambda: ds.capture(network, inputs, "0"),
        "array": lambda: ds.capture(network, inputs.numpy(), "0", name="mine"),
        "labels": lambda: ds.capture(network, (inputs, labels), "0", batch_size=9),
        "words": lambda: ds.capture(network, (inputs, words), "0"),
        "some": lambda: ds.capture(network, (inputs, labels), "0", n_points=12, seed=3),
        "each class": lambda: ds.capture(network, (inputs, labels), "0", per_class=4, seed=1),
        "dataset": lambda: ds.capture(network, dataset, "0", n_points=10),
        "loader": lambda: ds.capture(network, DataLoader(dataset, batch_size=8), "0"),
        "batches": lambda: ds.capture(network, batches, "0"),
        "generator": lambda: ds.capture(network, (one for one in batches), "0", n_points=30),
    }
    found: dict[str, Any] = {}
    for name, call in calls.items():
        one = call()
        found[name] = {**activations(one), "provenance": plain(one.provenance)}
    with empty_folder():
        np.save("inputs.npy", inputs.numpy())
        found["file"] = activations(ds.capture(network, "inputs.npy", "0"))
    return found


@case()
def data_and_networks_that_are_refused() -> Any:
    network, inputs = networks.mlp(), networks.mlp_inputs(20)
    missing = inputs.clone()
    missing[3, 1] = float("nan")
    calls: list[Callable[[], Any]] = [
        lambda: ds.capture("network", inputs),
        lambda: ds.capture(network, 7),
        lambda: ds.capture(network, []),
        lambda: ds.capture(network, "nowhere.npy"),
        lambda: ds.capture(network, inputs, n_points=100),
        lambda: ds.capture(network, inputs, per_class=2),
        lambda: ds.capture(network, (inputs, np.arange(7))),
        lambda: ds.profile(network, inputs, layer="0"),
        lambda: ds.profile(network, inputs, labels=[1]),
        lambda: ds.profile(classes(), inputs),
        lambda: ds.plan(network, inputs, memory="4 apples"),
        lambda: ds.capture(network, inputs[:, :5])["0"],
        lambda: ds.open_store("nowhere.zarr"),
        lambda: ds.Activations({"a": np.ones((4, 2)), "b": np.ones((3, 2))}),
        lambda: ds.Activations({"a": np.ones((4, 2))}, labels=np.ones((4, 2))),
        lambda: ds.Layer("a", "first"),
    ]
    with empty_folder():
        refused = [refusal(one) for one in calls]
    return {"refused": refused, "not finite": activations(ds.capture(network, missing), False)}


@case()
def networks_that_are_called_otherwise() -> Any:
    rng = np.random.default_rng(50)
    left = torch.from_numpy(rng.integers(-9, 9, (25, 3))).float()
    right = torch.from_numpy(rng.integers(-9, 9, (25, 2))).float()
    network = networks.TwoInputs()
    pairs = [(left[i : i + 10], right[i : i + 10]) for i in range(0, 25, 10)]
    named = [{"left": a, "right": b} for a, b in pairs]
    wrapped = nn.DataParallel(networks.mlp()) if not torch.cuda.is_available() else networks.mlp()

    def forward(model: Any, inputs: Any) -> Any:
        return model(inputs, inputs[:, :2])

    return {
        "two tensors": activations(ds.capture(network, pairs, "all")),
        "names": activations(ds.capture(network, named)),
        "function": activations(ds.capture(network, left, forward=forward)),
        "wrapped": activations(ds.capture(wrapped, networks.mlp_inputs(20)), False)["layers"],
        "half": activations(
            ds.capture(nn.Sequential(nn.Identity(), nn.ReLU()).half(), left.half(), "all")
        ),
        "bfloat16": activations(
            ds.capture(
                networks.whole_numbers(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).bfloat16()),
                left.bfloat16(),
                "all",
            )
        ),
    }


@case()
def profiles_of_networks() -> Any:
    told: list[str] = []
    plans: list[str] = []
    dense = with_warnings(
        lambda: ds.profile(
            networks.mlp(),
            networks.mlp_inputs(300),
            [ds.TwoNN(), ds.PCA()],
            name="dense",
            progress=lambda step, done, total: told.append(step),
            on_plan=lambda plan: plans.append(plan.how),
        )
    )
    labels = np.repeat([0, 1, 2], 20)
    convolutional = with_warnings(
        lambda: ds.profile(
            networks.ResidualNet(), (networks.images(60), labels), by_class=True, layers="blocks.*"
        )
    )
    return {
        "dense": dense,
        "convolutional": convolutional,
        "steps": list(dict.fromkeys(told)),
        "plans": plans,
    }


@case("transformers")
def the_anatomy_of_small_transformers() -> Any:
    import transformers

    size = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
    bert = transformers.BertModel(transformers.BertConfig(num_hidden_layers=3, **size))
    gpt = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_layer=3, n_embd=16, n_head=2, vocab_size=50, bos_token_id=0, eos_token_id=1
        )
    )
    tokens = {
        "input_ids": torch.arange(30).reshape(5, 6),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0]] * 5),
    }
    notes: list[list[str]] = []
    with noted(notes):
        return {
            f"{name} {layers} {readout}": activations(
                ds.capture(network, [tokens], layers, readout=readout), False
            )
            for name, network in (("bert", bert), ("gpt", gpt))
            for layers, readout in (("checkpoints", "first"), ("all", "mean"))
        }


@case("torchvision")
def the_anatomy_of_resnet18() -> Any:
    network = ds.load_model("torchvision/resnet18", weights="random")
    inputs = torch.zeros(3, 3, 32, 32)
    return {
        "training": network.training,
        "checkpoints": activations(ds.capture(network, inputs), False),
        "all": activations(ds.capture(network, inputs, "all", readout="mean"), False),
        "refused": refusal(lambda: ds.load_model("torchvision/resnet81")),
    }


@case()
def networks_loaded_from_a_file_of_a_user() -> Any:
    with empty_folder():
        Path("loaded_net.py").write_text(networks.SOURCE, encoding="utf-8")
        network = ds.load_model("loaded_net.py:make_model")
        torch.save({"state_dict": network.state_dict()}, "weights.pt")
        other = ds.load_model("loaded_net.py:make_model", weights="weights.pt")
        torch.save({"wrong": torch.zeros(2)}, "wrong.pt")
        calls: list[Callable[[], Any]] = [
            lambda: ds.load_model("loaded_net.py:make_modle"),
            lambda: ds.load_model("loaded_net.py"),
            lambda: ds.load_model("nowhere.py:make_model"),
            lambda: ds.load_model("loaded_net.py:make_model", weights="nowhere.pt"),
            lambda: ds.load_model("loaded_net.py:make_model", weights="wrong.pt"),
        ]
        return {
            "loaded": activations(ds.capture(network, networks.mlp_inputs(20))),
            "same": plain(other[0].weight[0].detach().numpy()),
            "training": [network.training, other.training],
            "refused": [refusal(one) for one in calls],
        }


@case("torchvision", "PIL", tolerance=1e-6)
def a_folder_of_images_as_data() -> Any:
    """Pixels are scaled in float32: 1e-6."""
    from PIL import Image

    network = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3, 2))
    networks.whole_numbers(network)
    with empty_folder():
        for number, name in enumerate(("ant", "bee")):
            Path("images", name).mkdir(parents=True)
            for i in range(3):
                colour = (40 * number + 10 * i, 100, 200 - 30 * i)
                Image.new("RGB", (20 + i, 30), colour).save(Path("images", name, f"{i}.png"))
        folder = ds.image_folder("images", 16)
        found = ds.capture(network, folder, "all")
        pixels = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            by_path = ds.capture(pixels, "images", "output", n_points=4)
        return {
            "length": len(folder),
            "found": activations(found, False),
            "values": plain(found["output"]),
            "pixels": plain(by_path["output"]),
            "says": [str(warning.message) for warning in said],
            "labels": [plain(by_path.labels), plain(by_path.class_names)],
            "refused": refusal(lambda: ds.capture(network, "nowhere")),
        }


@case()
def plans_of_captures() -> Any:
    network, inputs = networks.mlp(), networks.mlp_inputs(200)

    def shown(plan: ds.Plan) -> Any:
        fields = ("how", "row_bytes", "n_points", "budget", "groups", "where", "passes", "bytes")
        return {
            **{name: plain(getattr(plan, name)) for name in fields},
            "timed": plan.seconds is not None,
        }

    widths = [(("a", "e"), 4), (("b",), 2), (("c",), 3)]
    return {
        "fits": shown(ds.plan(network, inputs, memory="1 MB")),
        "does not fit": shown(ds.plan(network, inputs, memory="10 kB")),
        "out": shown(ds.plan(network, inputs, "all", memory=10**6, out="somewhere.zarr")),
        "iterated": shown(ds.plan(network, iter([inputs[:50], inputs[50:]]), memory="1GiB")),
        "some": shown(ds.plan(network, inputs, "last_hidden", n_points=30, memory="0.5MB")),
        "passes": shown(ds.Plan.of(9, 100, 600, room=0, widths=widths)),
        "texts": [
            str(ds.Plan.of(9, 100, 600, seconds=3.25, room=0, widths=widths)),
            repr(ds.Plan.of(6_760_352, 500, 10**9, seconds=92.4)),
            str(ds.Plan.of(8_000, None, 10**9)),
            str(ds.Plan.of(8_000, None, 10**9, out=True)),
        ],
    }


@case("zarr")
def a_store_is_captured_and_opened_again() -> Any:
    network, inputs = networks.mlp(), networks.mlp_inputs(70)
    labels = np.array(["ant", "bee"])[np.arange(70) % 2]
    told: list[list[Any]] = []

    def keep(**options: Any) -> ds.Activations:
        return ds.capture(
            network,
            (inputs, labels),
            out="one.zarr",
            progress=lambda *step: told.append(list(step[-2:])),
            **options,
        )

    with empty_folder():
        first = keep()
        opened = ds.open_store("one.zarr")
        again = keep()
        attributes = json.loads(Path("one.zarr", "zarr.json").read_text(encoding="utf-8"))
        about = attributes["attributes"]["dimscope"]
        made = with_warnings(lambda: ds.profile("one.zarr", by_class=True))
        part = with_warnings(lambda: ds.profile("one.zarr", memory="6 kB"))
        Path("other").mkdir()
        Path("other", "note.txt").write_text("mine", encoding="utf-8")
        refused = [
            refusal(lambda: keep(seed=3, layers="0")),
            refusal(lambda: keep(batch_size=9)),
            refusal(lambda: ds.capture(network, inputs, out="other")),
            refusal(lambda: ds.open_store("other")),
            refusal(lambda: ds.profile("one.zarr", inputs)),
            refusal(lambda: opened["nothing"]),
        ]
        return {
            "written": activations(first),
            "opened": activations(opened),
            "again": activations(again) == activations(first),
            "progress": told,
            "text": repr(opened),
            "path": opened.path,
            "files": stored_files("one.zarr"),
            "attributes": {
                key: plain(value) for key, value in about.items() if key not in ("identity",)
            },
            "identity": sorted(about["identity"]),
            "profile": made,
            "profile in parts": part,
            "refused": refused,
        }


@case("zarr")
def a_store_in_memory_and_one_for_lack_of_memory() -> Any:
    network, inputs = networks.mlp(), networks.mlp_inputs(60)
    plans: list[str] = []
    kept = ds.capture(network, inputs, "all", out="memory://recorded.zarr")
    short_of = ds.capture(
        network, inputs, "all", memory="5 kB", on_plan=lambda plan: plans.append(plan.how)
    )
    iterated = ds.capture(
        network,
        (inputs[i : i + 20] for i in range(0, 60, 20)),
        "all",
        memory="5 kB",
        on_plan=lambda plan: plans.append(plan.how),
    )
    return {
        "kept": activations(kept),
        "opened": activations(ds.open_store("memory://recorded.zarr"))["points"],
        "short of memory": activations(short_of),
        "iterated": activations(iterated),
        "plans": plans,
    }
