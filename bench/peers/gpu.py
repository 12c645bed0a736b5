"""The PyTorch peers of the hardware table (bench/gpu.ts): the same jobs on the same shapes, in the best forms that
plain PyTorch has.

    python3 bench/peers/gpu.py [rows...] [--device cuda|cpu] [--tiny] [--hold FILE]

  ceilings        matmul 8192^3 and a device-to-device copy of 2 GiB (bytes read + written)
  gemms           the three products of the policy gradient (logits, d_hidden, d_weight), by rows
  policyGradient  -sum(coef logp + beta entropy) through a classifier, M 8192, H 4096, V 131072, gradients of both
                  (d_weight float32, in place): materialised logits, and chunks of rows (Liger's way); forward only
                  at M 16384
  gram            K[i, j] = <grad f_i, grad f_j>, f = sum of log-probs, 64 sequences x T 256, all parameters of a
                  160M GPT-NeoX: vmap(grad), and one backward pass per sequence; J is kept whole, parameter by
                  parameter
  train           -sum(coef logp), backward and fused AdamW on float32 weights, B 32 x T 512
  sample          batch 256, prompts of 16, 128 new tokens, preallocated key/value cache

Prints one JSON line for each form: { row, form, milliseconds (median), spread (IQR / median), samples, extraBytes,
difference, note, on } or { row, form, error }. extraBytes is the peak beyond what was allocated before the call
(CUDA only). difference is the answer's from that of the row's first form, relative in norm; a form that differs by
more than rounding is an error and is not timed. Kernels are timed by events, jobs by the clock after a
synchronisation. `--hold FILE` compiles and warms up what is slow to compile, then waits for FILE to appear. On a
CPU everything is float32 and `--tiny` is the only sensible size; PyTorch 1.13 runs all of it (compiled forms are
eager there).
"""
import argparse
import os
import time

import torch

from gpu_form import Form, Run
from gpu_gram import gram
from gpu_products import ceilings, gemms, policy_gradient
from gpu_sample import sample
from gpu_timing import clean, describe, report, warm
from gpu_train import train

FULL = dict(
    side=8192,
    copy=1 << 30,
    gemms=(1024, 2048, 8192),
    pg=(8192, 4096, 131072),
    chunks=(1024, 4096),
    forward=4096,
    neox=dict(vocab=50304, hidden=768, layers=12, heads=12, mlp=3072, positions=2048),
    gram=(64, 256),
    per=(8, 64),
    train=(32, 512),
    sample=(256, 16, 128),
)
TINY = dict(
    side=64,
    copy=1 << 12,
    gemms=(8, 24),
    pg=(24, 16, 97),
    chunks=(8, 12),
    forward=12,
    neox=dict(vocab=211, hidden=32, layers=2, heads=2, mlp=56, positions=64),
    gram=(6, 12),
    per=(2, 6),
    train=(4, 16),
    sample=(3, 8, 12),
)

# Each takes the run and returns its forms.
ROWS = {
    "ceilings": ceilings,
    "gemms": gemms,
    "policyGradient": policy_gradient,
    "gram": gram,
    "train": train,
    "sample": sample,
}
COMPILE = ("train", "policyGradient")


def build(run, name):
    try:
        return ROWS[name](run)
    except Exception as error:
        return [Form(name, "", None, error=describe(error))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="row", help=", ".join(ROWS))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="shapes that any machine runs in seconds")
    parser.add_argument("--hold", metavar="FILE", help="compile first, then wait until FILE exists")
    options = parser.parse_args()
    for name in options.rows:
        if name not in ROWS:
            parser.error(f"there is no row '{name}'; choose from {', '.join(ROWS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device; --device cpu --tiny runs everything small")
    run = Run(options.device, TINY if options.tiny else FULL)
    wanted = [name for name in ROWS if name in (options.rows or ROWS)]
    ready = {name: build(run, name) for name in COMPILE if name in wanted and options.hold}
    for forms in ready.values():
        for form in forms:
            warm(run, form)
    while options.hold and not os.path.exists(options.hold):
        time.sleep(0.1)
    for name in wanted:
        forms = ready.pop(name, None) or build(run, name)
        while forms:
            report(run, forms.pop(0))
        run.expected.clear()
        clean(run)


if __name__ == "__main__":
    main()
