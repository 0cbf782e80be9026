"""Train the digits network and export it: ``python tests/data/train_digits.py`` writes two files.

``digits.onnx`` (the network), ``digits.json`` (how it was made and how good it is). Data: the 1797
handwritten digits that scikit-learn bundles, pixels divided by 16. Everything is seeded and runs on one
thread, so that the same PyTorch on the same kind of processor writes the same file.

``--check`` trains nothing: it measures the committed file with onnxruntime and compares with the record.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
SEED = 20240607
SIZES = (64, 48, 32, 10)
EPOCHS, BATCH, RATE, BIAS = 60, 32, 1e-3, 0.5
OPSET = 18


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels in [0, 1] and labels: train and test, a quarter held out, stratified, always the same."""
    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (pixels / 16.0).astype(np.float32), labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    return train_x, test_x, train_y, test_y


def train() -> Any:
    """The trained network, on the CPU, with Adam and no weight decay (with some, units die)."""
    import torch

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    class Digits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = torch.nn.Linear(SIZES[0], SIZES[1])
            self.fc2 = torch.nn.Linear(SIZES[1], SIZES[2])
            self.fc3 = torch.nn.Linear(SIZES[2], SIZES[3])
            for layer in (self.fc1, self.fc2):  # pixels are positive: from zero biases, units start silent
                torch.nn.init.constant_(layer.bias, BIAS)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.fc1(x))
            x = torch.relu(self.fc2(x))
            return self.fc3(x)

    train_x, _, train_y, _ = split()
    x, y = torch.from_numpy(train_x), torch.from_numpy(train_y)
    model = Digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    order = torch.Generator().manual_seed(SEED)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x), generator=order).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


def export(model: Any, path: Path) -> None:
    """Write the ONNX file: float32, one file, input ``x`` and output ``logits`` with a free batch axis."""
    import onnx
    import torch

    program = torch.onnx.export(
        model,
        (torch.zeros(2, SIZES[0]),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    proto = program.model_proto
    del proto.metadata_props[:], proto.graph.metadata_props[:]
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]  # the exporter notes source lines of the machine it ran on
    for node in proto.graph.node:
        node.doc_string = ""
    proto.graph.name = "digits"
    proto.producer_version = torch.__version__.split("+")[0]
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def measure(path: Path) -> dict[str, object]:
    """Accuracy by onnxruntime on both parts, and the hidden units that never fire or have no way out."""
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    train_x, test_x, train_y, test_y = split()
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    dead: list[str] = []
    hidden = train_x
    for layer, following in (("fc1", "fc2"), ("fc2", "fc3")):
        hidden = np.maximum(hidden @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
        silent = ~(hidden > 0).any(axis=0) | ~weights[f"{following}.weight"].any(axis=0)
        dead += [f"{layer}[{i}]" for i in np.flatnonzero(silent)]

    def accuracy(x: np.ndarray, y: np.ndarray) -> float:
        (logits,) = session.run(None, {"x": x})
        return round(float((logits.argmax(axis=1) == y).mean()), 6)

    return {
        "test_accuracy": accuracy(test_x, test_y),
        "train_accuracy": accuracy(train_x, train_y),
        "train_size": len(train_y),
        "test_size": len(test_y),
        "dead_units": dead,
        "bytes": path.stat().st_size,
    }


def record(path: Path) -> dict[str, object]:
    """What ``digits.json`` holds."""
    import torch

    return {
        "data": "scikit-learn load_digits, pixels / 16",
        "split": {"test_size": 0.25, "random_state": SEED, "stratify": True},
        "network": {"sizes": SIZES, "activation": "relu", "biases": True, "dtype": "float32"},
        "training": {
            "seed": SEED,
            "epochs": EPOCHS,
            "batch": BATCH,
            "optimizer": "Adam",
            "learning_rate": RATE,
            "initial_hidden_bias": BIAS,
            "threads": 1,
        },
        "torch": torch.__version__.split("+")[0],
        "opset": OPSET,
        **measure(path),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the digits network and export it to ONNX.")
    parser.add_argument("--check", action="store_true", help="measure the committed file only")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this)")
    options = parser.parse_args()
    if options.check:
        recorded = json.loads((HERE / "digits.json").read_text())
        measured = measure(HERE / "digits.onnx")
        wrong = {k: (recorded[k], v) for k, v in measured.items() if recorded[k] != v}
        print(f"differs from the record: {wrong}" if wrong else "digits.onnx is as recorded")
        return bool(wrong)
    export(train(), options.out / "digits.onnx")
    text = json.dumps(record(options.out / "digits.onnx"), indent=2) + "\n"
    (options.out / "digits.json").write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
