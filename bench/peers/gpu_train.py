"""The row `train` of gpu.py: a training step."""
import copy

import torch

from gpu_form import Form, balanced, compiled


def train(run):
    B, T = run.sizes["train"]
    ids = run.tokens(B, T)
    coef = run.randn(B, T - 1, dtype=torch.float32).abs_().div_(B * (T - 1))
    options = dict(lr=1e-4, **({"fused": True} if run.cuda else {}))

    norms = []

    def answer(model):
        """The last gradients of some of the weights."""
        first, last = model.layers[0], model.layers[-1]
        some = (first.query_key_value.weight, last.dense_4h_to_h.weight, model.embed_out.weight)
        return lambda: balanced([p.grad for p in some], norms)

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
