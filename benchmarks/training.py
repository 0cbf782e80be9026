"""`balproof.Balancer` within a training loop, against one step of the training itself."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import Any

from benchmarks.measure import Time, best

WIDTHS = (784, 2048, 2048, 2048, 10)
"""Ten million weights."""
BATCH = 64


def training(seconds: float = 0.5, widths: tuple[int, ...] = WIDTHS) -> dict[str, Any] | None:
    """One forward and backward pass of a batch, and balancing in place after each step; None without PyTorch.

    The weights are moved by a step of SGD between any two, as they are in a training.
    """
    if find_spec("torch") is None:
        return None
    import torch

    from balproof.balance.tensors import Balancer

    torch.manual_seed(0)
    layers = [
        part
        for a, b in zip(widths, widths[1:], strict=False)
        for part in (torch.nn.Linear(a, b), torch.nn.ReLU())
    ]
    module = torch.nn.Sequential(*layers[:-1])
    x, y = torch.randn(BATCH, widths[0]), torch.randint(0, widths[-1], (BATCH,))
    balancer = Balancer(module, (x,), "l2")
    descent, loss = torch.optim.SGD(module.parameters(), lr=0.05), torch.nn.CrossEntropyLoss()

    def learn() -> None:
        descent.zero_grad()
        loss(module(x), y).backward()

    first = balancer.balance_()
    step = balance = Time(float("inf"), float("inf"))
    found = first
    for _ in range(max(3, int(10 * seconds))):
        step = step.or_less(best(learn, 0, 1)[0])
        descent.step()
        spent, found = best(balancer.balance_, 0, 1)
        balance = balance.or_less(spent)
    return {
        "name": f"an MLP of {sum(p.numel() for p in module.parameters()):,} weights, batch {BATCH}",
        "step": dataclasses.asdict(step),
        "balance": dataclasses.asdict(balance),
        "ratio": balance.cpu / step.cpu,
        "reads": found.passes,
        "imbalance_before": found.imbalance_before,
        "imbalance": found.imbalance,
    }
