"""What the rules compute, against PyTorch's own functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from balproof.network import rules

pytestmark = pytest.mark.torch
SEEDS = range(60)


def instance(kind: str, seed: int) -> tuple[Any, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    op, tensors = rules.RULES[kind].example(rng)
    values = [
        rng.standard_normal((3, *tensors[n].shape[1:])) if tensors[n].value is None else tensors[n].value
        for n in op.inputs
    ]
    return op, values


def conv(op: Any, x: Any, w: Any) -> Any:
    from torch.nn import functional as F

    a, n = op.attributes, w.ndim - 2
    pads = a["pads"]
    given = {"stride": a["strides"], "dilation": a["dilations"], "groups": a["group"]}
    if a["transposed"]:
        return getattr(F, f"conv_transpose{n}d")(x, w, padding=pads[:n], **given)
    around = [p for k in reversed(range(n)) for p in (pads[k], pads[n + k])]
    return getattr(F, f"conv{n}d")(F.pad(x, around), w, **given)


def pool(op: Any, x: Any) -> Any:
    from torch.nn import functional as F

    a = op.attributes
    if a["mode"] == "max":
        padded = F.pad(x, (1, 1, 0, 0), value=float("-inf"))
        return F.max_pool2d(padded, a["kernel"], a["strides"])
    return F.avg_pool2d(x, a["kernel"], a["strides"], (0, 1), count_include_pad=a["count_include_pad"])


def batchnorm(op: Any, x: Any, gamma: Any, beta: Any, *running: Any) -> Any:
    from torch.nn import functional as F

    mean, variance = running or (None, None)
    training, eps = op.attributes["training"], max(op.attributes["epsilon"], 1e-30)  # 0 is refused
    return F.batch_norm(x, mean, variance, gamma, beta, training, eps=eps)


def softmax(op: Any, x: Any, *mask: Any) -> Any:
    from torch.nn import functional as F

    x = x.masked_fill(mask[0] == 0, -np.inf) if mask else x
    return (F.log_softmax if op.attributes["log"] else F.softmax)(x, -1)


def norm(op: Any, x: Any, *affine: Any) -> Any:
    from torch.nn import functional as F

    a = op.attributes
    if "groups" in a:
        return F.group_norm(x, a["groups"], *affine, eps=a["epsilon"])
    if a["center"]:
        return F.layer_norm(x, x.shape[-1:], *affine, eps=a["epsilon"])
    scaled = F.rms_norm(x, x.shape[-1:], affine[0] if affine else None, eps=a["epsilon"])
    return scaled + affine[1] if len(affine) > 1 else scaled


@pytest.mark.parametrize("function", [conv, pool, batchnorm, norm, softmax], ids=lambda f: f.__name__)
def test_evaluation_is_that_of_pytorch(function: Any) -> None:
    import torch

    for seed in SEEDS:
        op, values = instance(function.__name__, seed)
        expected = function(op, *(torch.from_numpy(np.asarray(v)) for v in values)).numpy()
        np.testing.assert_allclose(rules.run(op, values), expected, rtol=1e-9, atol=1e-9, err_msg=str(op))


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_transposed_convolutions_with_padding(padding: int, extra: int) -> None:
    import torch
    from torch.nn import functional as F

    from balproof.network.graph import Operation

    rng = np.random.default_rng(padding)
    x, w = rng.standard_normal((2, 4, 5, 6)), rng.standard_normal((4, 3, 3, 2))
    attributes = {
        "transposed": True,
        "group": 2,
        "strides": (2, 3),
        "dilations": (1, 2),
        "pads": (padding,) * 4,
        "output_padding": (extra, extra),
    }
    op = Operation("conv", "up", ("x", "W"), "y", attributes)
    expected = F.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(w), stride=(2, 3), dilation=(1, 2), padding=padding,
        output_padding=extra, groups=2,
    )  # fmt: skip
    np.testing.assert_allclose(rules.run(op, [x, w]), expected.numpy(), rtol=1e-9, atol=1e-9)
