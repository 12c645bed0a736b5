"""What the peer scripts share: one BLAS worth comparing with, and the clock.

OpenBLAS picks its kernels by the processor's model number, and takes the oldest ones (SSE3) on models that it does not
know, virtual machines among them. bench/workloads.ts therefore sets OPENBLAS_CORETYPE from what the processor can do,
and this refuses the reference BLAS, which is twenty times slower.
"""
import json
import resource
import time

import torch


def require_fast_blas():
    a = torch.randn(64, 64)
    a @ a
    with open("/proc/self/maps", encoding="utf8") as maps:
        loaded = maps.read()
    if not any(name in loaded for name in ("openblas", "libmkl", "blis")):
        raise SystemExit(
            "PyTorch runs on the reference BLAS here: not a peer to compare with; install libopenblas0-pthread"
        )


def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def report(forms, repeats, wanted=None):
    """Prints { form: { seconds, cpu, extraBytes } } of every wanted form.

    Where calls are repeated, a first one is not timed.
    """
    result = {}
    for name, body in forms.items():
        if wanted and name not in wanted:
            continue
        before = peak_kib()
        if repeats > 1:
            body()
        seconds, cpu = [], []
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            body()
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
        result[name] = {"seconds": seconds, "cpu": cpu, "extraBytes": (peak_kib() - before) * 1024}
    print(json.dumps(result))
