"""Policy gradient through the classifier in PyTorch, the way users write it.

`linear_policy_gradient` is compared with it.

    loss = -sum(coef * logp)      logp = log_softmax(hidden @ weight.T)[targets]

  materialised   logits [N, V] once, autograd through log_softmax and gather
  chunked        rows in chunks, gradient formed by hand in the chunk's logits (softmax minus one-hot), no recomputation

Prints one JSON object: { form: { seconds, cpu, extraBytes } }. These are wall and processor seconds of all repeats (on
a shared machine the processor time of one thread is the steadier), and the peak resident memory beyond what the process
held before the first call (give --form for it, because a process never gives its peak back).

    python3 bench/peers/policy_gradient.py --rows 2048 --hidden 512 --vocab 50304 --threads 1 --repeats 3
"""
import argparse

import torch

from timing import report, require_fast_blas


def materialised(hidden, weight, targets, coef):
    """Returns log-probs and both gradients."""
    h, w = hidden.requires_grad_(True), weight.requires_grad_(True)
    h.grad = w.grad = None
    logp = torch.log_softmax(h @ w.t(), dim=-1).gather(1, targets[:, None]).squeeze(1)
    (-(coef * logp).sum()).backward()
    return logp.detach(), h.grad, w.grad


@torch.no_grad()
def chunked(hidden, weight, targets, coef, rows=256):
    """The same numbers; extra memory is one chunk of logits."""
    n = hidden.shape[0]
    logps, d_hidden, d_weight = torch.empty(n), torch.empty_like(hidden), torch.zeros_like(weight)
    for begin in range(0, n, rows):
        part = slice(begin, min(begin + rows, n))
        h, y, c = hidden[part], targets[part], coef[part]
        logits = h @ weight.t()
        lse = torch.logsumexp(logits, dim=-1)
        logps[part] = logits.gather(1, y[:, None]).squeeze(1) - lse
        grad = logits.sub_(lse[:, None]).exp_().mul_(c[:, None])
        grad[torch.arange(len(y)), y] -= c
        d_hidden[part] = grad @ weight
        d_weight.addmm_(grad.t(), h)
    return logps, d_hidden, d_weight


FORMS = {"materialised": materialised, "chunked": chunked}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = dict(rows=2048, hidden=512, vocab=50304, threads=1, repeats=3, seed=1)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    form_help = "only this form (may be given twice); default: all"
    parser.add_argument("--form", choices=sorted(FORMS), action="append", help=form_help)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    require_fast_blas()
    torch.manual_seed(options.seed)
    hidden = torch.randn(options.rows, options.hidden)
    weight = torch.randn(options.vocab, options.hidden) * 0.05
    targets = torch.randint(0, options.vocab, (options.rows,))
    coef = torch.randn(options.rows) / options.rows

    bodies = {name: lambda form=form: form(hidden, weight, targets, coef) for name, form in FORMS.items()}
    report(bodies, options.repeats, options.form)


if __name__ == "__main__":
    main()
