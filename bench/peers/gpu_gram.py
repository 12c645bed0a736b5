"""The row `gram` of gpu.py: the Gram matrix of per-sample gradients."""
import functools

import torch

from gpu_form import Form
from neox import explicit, fused

try:
    from torch.func import functional_call, grad, vmap
except ImportError:  # before 2.0
    from functorch import grad, vmap
    from torch.nn.utils.stateless import functional_call


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
        empty = functools.partial(torch.empty, device=run.device, dtype=run.dtype)
        return {name: empty(N, p.numel()) for name, p in parameters.items()}

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
            every = gradients(parameters, ids)
            return finish({name: g.detach().reshape(N, -1) for name, g in every.items()})
        J = rows()
        for begin in range(0, N, chunk):
            part = slice(begin, min(begin + chunk, N))
            for name, g in gradients(parameters, ids[part]).items():
                J[name][part] = g.detach().reshape(g.shape[0], -1)
        return finish(J)

    def loop():
        J, leaves = rows(), list(model.parameters())
        for i in range(N):
            gradients = torch.autograd.grad(model(ids[i:i + 1]).sum(), leaves)
            for G, g in zip(J.values(), gradients):
                G[i] = g.flatten()
        return finish(J)

    note = lambda s: f"{str(run.dtype)[6:]} weights"
    forms = [Form("gram", "backward loop", loop, note)]
    for chunk in run.sizes["per"]:
        name = f"vmap(grad), {chunk} at a time, explicit attention"
        forms.append(Form("gram", name, functools.partial(by_vmap, chunk, explicit), note))
    chunk = run.sizes["per"][0]
    name = f"vmap(grad), {chunk} at a time, fused attention"
    forms.append(Form("gram", name, functools.partial(by_vmap, chunk, fused), note))
    return forms
