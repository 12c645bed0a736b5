"""What the rows of gpu.py are made of: forms that do the same job, and the run that they belong to."""
import dataclasses

import torch

from neox import NeoX


@dataclasses.dataclass
class Form:
    row: str
    name: str
    # () -> what all forms of the row agree on: a tensor, or a function of none that makes it, or None
    body: object
    note: object = lambda s: ""  # median seconds -> text
    kernel: bool = False         # timed by events, queued back to back
    least: int = 3               # samples, however long they take
    seconds: float = 3           # of timing, once there are that many
    error: str = None
    warm: bool = False
    extra: int = None
    difference: float = None     # relative to the first form's answer


def rate(flops):
    return lambda s: f"{flops / s / 1e12:.0f} TFLOP/s"


def balanced(parts, norms):
    """One vector of all parts, each weighing the same.

    The first form fills norms, so that the scale of the others counts.
    """
    norms.extend(p.norm() for p in parts[len(norms):])
    return torch.cat([(p / n).flatten() for p, n in zip(parts, norms)])


def compiled(function):
    return torch.compile(function, dynamic=False) if hasattr(torch, "compile") else function


class Run:
    def __init__(self, device, sizes):
        self.device, self.sizes = device, sizes
        self.cuda = device == "cuda"
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        self.on = f"torch {torch.__version__}, {torch.cuda.get_device_name() if self.cuda else 'CPU'}"
        # What counts as agreement between forms, relative in norm.
        self.tolerance = 0.1 if self.cuda else 1e-4
        self.expected = {}  # row -> the answer of its first form

    def randn(self, *shape, scale=1.0, dtype=None):
        return torch.randn(*shape, device=self.device, dtype=dtype or self.dtype).mul_(scale)

    def tokens(self, *shape):
        return torch.randint(0, self.sizes["neox"]["vocab"], shape, device=self.device)

    def model(self):
        torch.manual_seed(1)
        return NeoX(**self.sizes["neox"]).to(self.device)

    def difference(self, got, expected):
        error = float((got.float() - expected.float()).norm() / expected.float().norm())
        if not error < self.tolerance:
            raise ValueError(f"wrong: relative difference {error:.3g}")
        return error

    def synchronize(self):
        if self.cuda:
            torch.cuda.synchronize()
