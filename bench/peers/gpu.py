"""The PyTorch peers of the hardware table (bench/gpu.ts): the same jobs on the same shapes, in the best forms that plain PyTorch has.

    python3 bench/peers/gpu.py [rows...] [--device cuda|cpu] [--tiny] [--hold FILE]

  ceilings        matmul 8192^3 and a device-to-device copy of 2 GiB (bytes read + written)
  gemms           the three products of the policy gradient (logits, d_hidden, d_weight), by rows
  policyGradient  -sum(coef logp + beta entropy) through a classifier, M 8192, H 4096, V 131072, gradients of both (d_weight float32, in place):
                  materialised logits, and chunks of rows (Liger's way); forward only at M 16384
  gram            K[i, j] = <grad f_i, grad f_j>, f = sum of log-probs, 64 sequences x T 256, all parameters of a 160M GPT-NeoX:
                  vmap(grad), and one backward pass per sequence; J is kept whole, parameter by parameter
  train           -sum(coef logp), backward and fused AdamW on float32 weights, B 32 x T 512
  sample          batch 256, prompts of 16, 128 new tokens, preallocated key/value cache

Prints one JSON line per form { row, form, milliseconds (median), spread (IQR / median), samples, extraBytes, difference, note, on } or { row, form, error }.
extraBytes is the peak beyond what was allocated before the call (CUDA only). difference is the answer's from the
first form's of the row, relative in norm; a form that differs by more than rounding is an error and is not timed. Kernels are timed by events, jobs by the clock after a synchronisation. `--hold FILE` compiles and warms up what is slow to compile, then waits for FILE to
appear. On a CPU everything is float32 and `--tiny` is the only sensible size; PyTorch 1.13 runs all of it (compiled forms are eager there).
"""
import argparse
import copy
import dataclasses
import functools
import gc
import json
import math
import os
import statistics
import sys
import time

import torch

from neox import NeoX, explicit, fused, fused_attention

try:
    from torch.func import functional_call, grad, vmap
except ImportError:  # before 2.0
    from functorch import grad, vmap
    from torch.nn.utils.stateless import functional_call

NEOX = dict(vocab=50304, hidden=768, layers=12, heads=12, mlp=3072, positions=2048)
FULL = dict(side=8192, copy=1 << 30, gemms=(1024, 2048, 8192), pg=(8192, 4096, 131072), chunks=(1024, 4096), forward=4096,
            neox=NEOX, gram=(64, 256), per=(8, 64), train=(32, 512), sample=(256, 16, 128))
TINY = dict(side=64, copy=1 << 12, gemms=(8, 24), pg=(24, 16, 97), chunks=(8, 12), forward=12,
            neox=dict(vocab=211, hidden=32, layers=2, heads=2, mlp=56, positions=64), gram=(6, 12), per=(2, 6), train=(4, 16), sample=(3, 8, 12))
WARM_UP = 3


@dataclasses.dataclass
class Form:
    row: str
    name: str
    body: object                     # () -> what all forms of the row agree on: a tensor, or a function of none that makes it, or None
    note: object = lambda s: ""      # median seconds -> text
    kernel: bool = False             # timed by events, queued back to back
    least: int = 3                   # samples, however long they take
    seconds: float = 3               # of timing, once there are that many
    error: str = None
    warm: bool = False
    extra: int = None
    difference: float = None         # relative to the first form's answer


def rate(flops):
    return lambda s: f"{flops / s / 1e12:.0f} TFLOP/s"


def balanced(parts, norms):
    """One vector of all parts, each weighing the same; norms is filled by the first form, so that the scale of the others counts."""
    norms.extend(p.norm() for p in parts[len(norms):])
    return torch.cat([(p / n).flatten() for p, n in zip(parts, norms)])


def compiled(function):
    return torch.compile(function, dynamic=False) if hasattr(torch, "compile") else function


# The rows: each takes the run and returns its forms.

class Run:
    def __init__(self, device, sizes):
        self.device, self.sizes = device, sizes
        self.cuda = device == "cuda"
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        self.on = f"torch {torch.__version__}, {torch.cuda.get_device_name() if self.cuda else 'CPU'}"
        # What counts as agreement between forms, relative in norm.
        self.tolerance = 0.1 if self.cuda else 1e-4
        self.expected = {}           # row -> the answer of its first form

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


def ceilings(run):
    n = run.sizes["side"]
    a, b, c = run.randn(n, n), run.randn(n, n), run.randn(n, n)
    x = run.randn(run.sizes["copy"])
    y = torch.empty_like(x)
    moved = 2 * x.numel() * x.element_size()
    return [
        Form("matmul", f"torch.mm {n}^3", lambda: torch.mm(a, b, out=c), rate(2 * n ** 3), kernel=True, least=20),
        Form("copy", f"copy_ {moved // 2 >> 20} MiB", lambda: y.copy_(x), lambda s: f"{moved / s / 1e12:.2f} TB/s", kernel=True, least=20),
    ]


def gemms(run):
    _, H, V = run.sizes["pg"]
    weight, forms = run.randn(V, H, scale=0.02), []
    for m in run.sizes["gemms"]:
        h, g = run.randn(m, H), run.randn(m, V)
        for name, a, b in ((f"({m} x {H}) ({H} x {V})", h, weight.t()), (f"({m} x {V}) ({V} x {H})", g, weight), (f"({V} x {m}) ({m} x {H})", g.t(), h)):
            out = torch.empty(a.shape[0], b.shape[1], device=run.device, dtype=run.dtype)
            forms.append(Form("gemms", name, functools.partial(torch.mm, a, b, out=out), rate(2 * m * H * V), kernel=True, least=20, seconds=1))
    return forms


def row_statistics(z, y):
    """Log-prob and entropy of rows with logits z and targets y."""
    lp = torch.log_softmax(z.float(), -1)
    return lp.gather(-1, y[:, None]).squeeze(-1), -(lp.exp() * lp).sum(-1)


@torch.enable_grad()
def row_gradient_by_autograd(z, y, c, b):
    """Both, and d/dz of -sum(c logp + b entropy)."""
    logp, entropy = row_statistics(z.requires_grad_(), y)
    return logp.detach(), entropy.detach(), torch.autograd.grad(-(c * logp + b * entropy).sum(), z)[0]


def row_gradient(z, y, c, b):
    """The same by hand, for the compiler to fuse."""
    lp = torch.log_softmax(z.float(), -1)
    p = lp.exp()
    logp, entropy = lp.gather(-1, y[:, None]).squeeze(-1), -(p * lp).sum(-1)
    g = p * (c[:, None] + b[:, None] * (lp + entropy[:, None]))
    hot = torch.arange(z.shape[1], device=z.device) == y[:, None]
    return logp, entropy, torch.where(hot, g - c[:, None], g).to(z.dtype)


def accumulation(run):
    """total += a b with total in float32: the best way that this PyTorch has and that gives the right answer."""
    if not run.cuda:
        return lambda total, a, b: total.addmm_(a, b), "addmm_"

    def fused(total, a, b):
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)

    def float32(total, a, b):
        total.add_(torch.mm(a, b, out_dtype=torch.float32))

    def rounded(total, a, b):
        total.add_(torch.mm(a, b))

    a, b, start = run.randn(256, 128), run.randn(128, 512), run.randn(256, 512, dtype=torch.float32)
    for way in (fused, float32):
        try:
            total = start.clone()
            way(total, a, b)
            way(total, a, b)
            torch.testing.assert_close(total, start + 2 * (a.float() @ b.float()), rtol=1e-3, atol=1e-2)
            return way, {fused: "addmm out_dtype float32", float32: "mm out_dtype float32, then add_"}[way]
        except Exception as error:
            print(f"gpu.py: {way.__name__} accumulation: {error}", file=sys.stderr)
    return rounded, "mm in bfloat16, then add_"


def policy_gradient(run):
    M, H, V = run.sizes["pg"]
    weight = run.randn(V, H, scale=0.02).requires_grad_()
    hidden = run.randn(2 * M, H)
    targets = torch.randint(0, V, (2 * M,), device=run.device)
    coef, beta = run.randn(2 * M, dtype=torch.float32, scale=1 / M), run.randn(2 * M, dtype=torch.float32, scale=1 / M)
    d_weight = torch.zeros(V, H, device=run.device)
    d_hidden = torch.empty(M, H, device=run.device, dtype=run.dtype)
    accumulate, how = accumulation(run)
    fast_gradient, fast_statistics = compiled(row_gradient), compiled(row_statistics)

    norms = []

    def answer(logp, entropy):
        """All results; of d_weight a part."""
        return lambda: balanced([logp, entropy, d_hidden.float(), d_weight[:4096]], norms)

    def materialised():
        h = hidden[:M].detach().requires_grad_()
        logp, entropy = row_statistics(h @ weight.t(), targets[:M])
        dh, dw = torch.autograd.grad(-(coef[:M] * logp + beta[:M] * entropy).sum(), (h, weight))
        d_hidden.copy_(dh)
        d_weight.copy_(dw)
        return answer(logp.detach(), entropy.detach())

    @torch.no_grad()
    def chunked(rows, gradient):
        d_weight.zero_()
        logps, entropies = torch.empty(M, device=run.device), torch.empty(M, device=run.device)
        for begin in range(0, M, rows):
            part = slice(begin, min(begin + rows, M))
            z = hidden[part] @ weight.t()
            logps[part], entropies[part], g = gradient(z, targets[part], coef[part], beta[part])
            del z
            torch.mm(g, weight, out=d_hidden[part])
            accumulate(d_weight, g.t(), hidden[part])
        return answer(logps, entropies)

    @torch.no_grad()
    def forward(rows, function):
        parts = [function(hidden[begin:begin + rows] @ weight.t(), targets[begin:begin + rows]) for begin in range(0, 2 * M, rows)]
        return lambda: torch.cat([torch.cat(column) for column in zip(*parts)])

    both = lambda s: f"{6 * M * H * V / s / 1e12:.0f} TFLOP/s; d_weight by {how}"
    forms = [Form("policyGradient", "materialised, eager", materialised, rate(6 * M * H * V))]
    first = run.sizes["chunks"][0]
    forms.append(Form("policyGradient", f"chunks of {first}, eager", lambda: chunked(first, row_gradient_by_autograd), both))
    for rows in (*run.sizes["chunks"], M):
        forms.append(Form("policyGradient", f"chunks of {rows}, compiled" if rows < M else "materialised, compiled", functools.partial(chunked, rows, fast_gradient), both))
    rows = run.sizes["forward"]
    for name, function in (("eager", row_statistics), ("compiled", fast_statistics)):
        forms.append(Form("policyGradientForward", f"chunks of {rows}, {name}", functools.partial(forward, rows, function), rate(2 * 2 * M * H * V)))
    return forms


def inner_products(G):
    """G G^T in float32 for G [N, n]: long rows in pieces, so that there is parallel work."""
    N, n = G.shape
    pieces = G.view(N, n // 4096 if n % 4096 == 0 else 1, -1).transpose(0, 1)
    if G.dtype == torch.float32:
        return torch.bmm(pieces, pieces.transpose(1, 2)).sum(0)
    try:
        return torch.bmm(pieces, pieces.transpose(1, 2), out_dtype=torch.float32).sum(0)
    except (TypeError, RuntimeError):  # before 2.8
        return torch.bmm(pieces, pieces.transpose(1, 2)).float().sum(0)


def gram(run):
    N, T = run.sizes["gram"]
    model = run.model().to(run.dtype)
    ids = run.tokens(N, T)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def rows():
        return {name: torch.empty(N, p.numel(), device=run.device, dtype=run.dtype) for name, p in parameters.items()}

    def finish(J):
        K = torch.zeros(N, N, device=run.device)
        for G in J.values():
            K += inner_products(G)
        return K

    def by_vmap(chunk, attend):
        def f(p, row):
            return functional_call(model, p, (row[None], attend)).sum()

        gradients = vmap(grad(f), in_dims=(None, 0))
        if chunk == N:
            return finish({name: g.detach().reshape(N, -1) for name, g in gradients(parameters, ids).items()})
        J = rows()
        for begin in range(0, N, chunk):
            part = slice(begin, min(begin + chunk, N))
            for name, g in gradients(parameters, ids[part]).items():
                J[name][part] = g.detach().reshape(g.shape[0], -1)
        return finish(J)

    def loop():
        J, leaves = rows(), list(model.parameters())
        for i in range(N):
            for G, g in zip(J.values(), torch.autograd.grad(model(ids[i:i + 1]).sum(), leaves)):
                G[i] = g.flatten()
        return finish(J)

    note = lambda s: f"{str(run.dtype)[6:]} weights"
    forms = [Form("gram", "backward loop", loop, note)]
    for chunk in run.sizes["per"]:
        forms.append(Form("gram", f"vmap(grad), {chunk} at a time, explicit attention", functools.partial(by_vmap, chunk, explicit), note))
    chunk = run.sizes["per"][0]
    forms.append(Form("gram", f"vmap(grad), {chunk} at a time, fused attention", functools.partial(by_vmap, chunk, fused), note))
    return forms


def train(run):
    B, T = run.sizes["train"]
    ids = run.tokens(B, T)
    coef = run.randn(B, T - 1, dtype=torch.float32).abs_().div_(B * (T - 1))
    options = dict(lr=1e-4, **({"fused": True} if run.cuda else {}))

    norms = []

    def answer(model):
        """The last gradients of some of the weights."""
        return lambda: balanced([p.grad for p in (model.layers[0].query_key_value.weight, model.layers[-1].dense_4h_to_h.weight, model.embed_out.weight)], norms)

    def autocast(wrap):
        model = run.model()
        optimizer = torch.optim.AdamW(model.parameters(), **options)
        loss_of = wrap(lambda ids, coef: -(coef * model(ids)).sum())

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(run.device, dtype=torch.bfloat16, enabled=run.cuda):
                loss = loss_of(ids, coef)
            loss.backward()
            optimizer.step()
            return answer(model)

        return step

    def copied(wrap):
        """Forward and backward in bfloat16 all through, on a copy of float32 weights."""
        model = run.model()
        low = copy.deepcopy(model).to(run.dtype)
        masters, weights = list(model.parameters()), list(low.parameters())
        optimizer = torch.optim.AdamW(masters, **options)
        for p in masters:
            p.grad = torch.empty_like(p)
        loss_of = wrap(lambda ids, coef: -(coef * low(ids)).sum())

        def step():
            gradients = torch.autograd.grad(loss_of(ids, coef), weights)
            with torch.no_grad():
                for p, g in zip(masters, gradients):
                    p.grad.copy_(g)
                optimizer.step()
                for w, p in zip(weights, masters):
                    w.copy_(p)
            return answer(model)

        return step

    note = lambda s: f"{B * T / s:.0f} tokens/s"
    return [
        Form("train", "autocast, eager", autocast(lambda f: f), note),
        Form("train", "autocast, compiled", autocast(compiled), note, seconds=8),
        Form("train", "bfloat16 copy of float32 weights, compiled", copied(compiled), note, seconds=8),
    ]


class Cache:
    """Keys and values of every layer [B, heads, length, D], allocated once."""

    def __init__(self, run, batch, length):
        c = run.sizes["neox"]
        shape = (c["layers"], batch, c["heads"], length, c["hidden"] // c["heads"])
        self.keys, self.values = (torch.zeros(shape, device=run.device, dtype=run.dtype) for _ in range(2))
        self.position = 0
        self.at = torch.zeros(1, dtype=torch.long, device=run.device)
        self.places = torch.arange(length, device=run.device)

    def grow(self, q, k, v, layer):
        """The position is known to the host: attends to just what is there."""
        begin, end = self.position, self.position + q.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, begin:end], values[:, :, begin:end] = k, v
        return fused_attention(q, keys[:, :, :end], values[:, :, :end], is_causal=q.shape[2] > 1)

    def fixed(self, q, k, v, layer):
        """One token at a position that the device holds: the same shapes every time, as a graph needs."""
        keys, values = self.keys[layer], self.values[layer]
        keys.index_copy_(2, self.at, k)
        values.index_copy_(2, self.at, v)
        return fused_attention(q, keys, values, attn_mask=(self.places <= self.at)[None, None, None])


def sample(run):
    B, P, new = run.sizes["sample"]
    model = run.model().to(run.dtype).eval()
    prompts = run.tokens(B, P)
    cache = Cache(run, B, P + new)

    def logits(ids):
        """Of the last position; moves on."""
        z = model.embed_out(model.features(ids, slice(cache.position, cache.position + ids.shape[1]), cache.grow)[:, -1])
        cache.position += ids.shape[1]
        return z

    def fixed_logits(ids):
        return model.embed_out(model.features(ids, cache.at, cache.fixed)[:, -1])

    def draw(z):
        return torch.multinomial(torch.softmax(z.float(), -1), 1)

    def draw_without_waiting(z):
        """multinomial asks the device whether its input is valid, which a graph cannot: argmax p / e, e ~ Exp(1), is what it does inside."""
        p = torch.softmax(z.float(), -1)
        return (p / torch.empty_like(p).exponential_(1)).argmax(-1, keepdim=True)

    @torch.no_grad()
    def check():
        half = P // 2
        expected = model.embed_out(model.features(prompts, slice(0, P), fused)[:, -1])
        cache.position = 0
        logits(prompts[:, :half])
        for i in range(half, P):
            grown = logits(prompts[:, i:i + 1])
        run.difference(grown, expected)
        cache.keys[:, :, :, half:].zero_(), cache.values[:, :, :, half:].zero_()
        for i in range(half, P):
            cache.at.fill_(i)
            last = fixed_logits(prompts[:, i:i + 1])
        run.difference(last, expected)

    check()

    @torch.no_grad()
    def eager():
        cache.position = 0
        ids, out = prompts, []
        for _ in range(new):
            ids = draw(logits(ids))
            out.append(ids)
        torch.cat(out, 1).cpu()

    graph, state = None, dict(ids=prompts[:, :1].clone(), out=torch.zeros(B, new, dtype=torch.long, device=run.device), step=torch.zeros(1, dtype=torch.long, device=run.device))

    def step():
        """The next token from the last one, all on the device."""
        state["ids"].copy_(draw_without_waiting(fixed_logits(state["ids"])))
        state["out"].index_copy_(1, state["step"], state["ids"])
        state["step"].add_(1)
        cache.at.add_(1)

    @torch.no_grad()
    def graphed():
        nonlocal graph
        cache.at.fill_(P)
        state["step"].zero_()
        if graph is None and run.cuda:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    step()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
        cache.position = 0
        first = draw(logits(prompts))
        state["ids"].copy_(first)
        state["out"][:, :1] = first
        cache.at.fill_(P)
        state["step"].fill_(1)
        for _ in range(new - 1):
            graph.replay() if graph is not None else step()
        state["out"].cpu()

    note = lambda s: f"{B * new / s:.0f} tokens/s"
    return [Form("sample", "key/value cache, eager", eager, note), Form("sample", "key/value cache, CUDA graph", graphed, note)]


ROWS = {"ceilings": ceilings, "gemms": gemms, "policyGradient": policy_gradient, "gram": gram, "train": train, "sample": sample}
COMPILE = ("train", "policyGradient")


# Preparing, timing, reporting.

def clean(run):
    gc.collect()
    if run.cuda:
        torch.cuda.empty_cache()


def build(run, name):
    try:
        return ROWS[name](run)
    except Exception as error:
        return [Form(name, "", None, error=describe(error))]


def warm(run, form):
    """Runs the form WARM_UP times and compares its answer with that of the row's first form."""
    try:
        began = time.perf_counter()
        for i in range(WARM_UP):
            if run.cuda:
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
            got = form.body()
            run.synchronize()
            if run.cuda:
                form.extra = torch.cuda.max_memory_allocated() - held
            if i == 0:
                print(f"gpu.py: {form.row}, {form.name}: first call {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
            if form.kernel or i < WARM_UP - 1:
                got = None
        got = got() if callable(got) else got
        if got is not None:
            form.difference = run.difference(got, run.expected.setdefault(form.row, got))
    except Exception as error:
        form.error = form.error or describe(error)
    form.warm = True
    got = None
    clean(run)


def describe(error):
    return f"{type(error).__name__}: {str(error).strip()[:400]}"


def by_events(form):
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(form.least)]
    for begin, end in events:
        begin.record()
        form.body()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in events]


def by_clock(run, form):
    seconds, deadline = [], time.perf_counter() + form.seconds
    while len(seconds) < form.least or (len(seconds) < 20 and time.perf_counter() < deadline):
        run.synchronize()
        began = time.perf_counter()
        form.body()
        run.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds


def report(run, form):
    line = dict(row=form.row, form=form.name)
    if not form.warm:
        warm(run, form)
    try:
        if form.error:
            raise RuntimeError(form.error)
        seconds = sorted(by_events(form) if form.kernel and run.cuda else by_clock(run, form))
        median, n = statistics.median(seconds), len(seconds)
        line.update(milliseconds=median * 1e3, spread=(seconds[3 * n // 4] - seconds[n // 4]) / median, samples=n, extraBytes=form.extra, difference=form.difference, note=form.note(median))
    except Exception as error:
        line.update(error=form.error or describe(error))
    print(json.dumps(dict(line, on=run.on)), flush=True)
    clean(run)


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
