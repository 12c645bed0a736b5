"""Rows of gpu.py that are products: ceilings, plain products, and the policy gradient through a classifier."""
import functools
import sys

import torch

from gpu_form import Form, balanced, compiled, rate


def ceilings(run):
    n = run.sizes["side"]
    a, b, c = run.randn(n, n), run.randn(n, n), run.randn(n, n)
    x = run.randn(run.sizes["copy"])
    y = torch.empty_like(x)
    moved = 2 * x.numel() * x.element_size()
    bandwidth = lambda s: f"{moved / s / 1e12:.2f} TB/s"
    return [
        Form("matmul", f"torch.mm {n}^3", lambda: torch.mm(a, b, out=c), rate(2 * n ** 3), kernel=True, least=20),
        Form("copy", f"copy_ {moved // 2 >> 20} MiB", lambda: y.copy_(x), bandwidth, kernel=True, least=20),
    ]


def gemms(run):
    _, H, V = run.sizes["pg"]
    weight, forms = run.randn(V, H, scale=0.02), []
    for m in run.sizes["gemms"]:
        h, g = run.randn(m, H), run.randn(m, V)
        products = (
            (f"({m} x {H}) ({H} x {V})", h, weight.t()),
            (f"({m} x {V}) ({V} x {H})", g, weight),
            (f"({V} x {m}) ({m} x {H})", g.t(), h),
        )
        for name, a, b in products:
            out = torch.empty(a.shape[0], b.shape[1], device=run.device, dtype=run.dtype)
            body = functools.partial(torch.mm, a, b, out=out)
            forms.append(Form("gemms", name, body, rate(2 * m * H * V), kernel=True, least=20, seconds=1))
    return forms


def row_statistics(z, y):
    """Log-prob and entropy of rows with logits z and targets y."""
    lp = torch.log_softmax(z.float(), -1)
    return lp.gather(-1, y[:, None]).squeeze(-1), -(lp.exp() * lp).sum(-1)


@torch.enable_grad()
def row_gradient_by_autograd(z, y, c, b):
    """Both statistics, and d/dz of -sum(c logp + b entropy)."""
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
    """total += a b with total in float32, by the best way that this PyTorch has and that gives the right answer."""
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
    coef = run.randn(2 * M, dtype=torch.float32, scale=1 / M)
    beta = run.randn(2 * M, dtype=torch.float32, scale=1 / M)
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
        parts = []
        for begin in range(0, 2 * M, rows):
            part = slice(begin, begin + rows)
            parts.append(function(hidden[part] @ weight.t(), targets[part]))
        return lambda: torch.cat([torch.cat(column) for column in zip(*parts)])

    both = lambda s: f"{6 * M * H * V / s / 1e12:.0f} TFLOP/s; d_weight by {how}"
    forms = [Form("policyGradient", "materialised, eager", materialised, rate(6 * M * H * V))]
    first = run.sizes["chunks"][0]
    by_autograd = functools.partial(chunked, first, row_gradient_by_autograd)
    forms.append(Form("policyGradient", f"chunks of {first}, eager", by_autograd, both))
    for rows in (*run.sizes["chunks"], M):
        name = f"chunks of {rows}, compiled" if rows < M else "materialised, compiled"
        forms.append(Form("policyGradient", name, functools.partial(chunked, rows, fast_gradient), both))
    rows = run.sizes["forward"]
    for name, function in (("eager", row_statistics), ("compiled", fast_statistics)):
        body = functools.partial(forward, rows, function)
        forms.append(Form("policyGradientForward", f"chunks of {rows}, {name}", body, rate(2 * 2 * M * H * V)))
    return forms
