"""The GPT of EXPERIMENT.md in plain PyTorch, as users write it: what the library's model jobs are compared with.

    python3 bench/peers/gpt.py training | sampling --batch 32 | gram --level sequence
                               [--threads 1] [--repeats 3] [--form NAME]

Pre-LN, learned positions, LayerNorm with bias, linear layers without, exact GELU, untied classifier: d 256, 4 layers,
4 heads, V 2048.
  training   forward, cross-entropy, backward, AdamW on B 32 x T 64
  sampling   64 new tokens after prompts of 8, key/value cache, preallocated
  gram       K[i, j] = <grad f_i, grad f_j>, f = sum of log-probs; all parameters
               vmap(grad)     functorch per-sample gradients, 16 at a time, then one product
               per-layer      one backward pass with hooks, per-sample weight gradients of one layer at a time, then
                              its product
               loop           one backward pass per sample into the rows of J, then J J^T
             --level token: the last 8 positions of every sequence are functions of their own (vmap(grad) alone)
Prints one JSON object: { form: { seconds, cpu, extraBytes } }. cpu is processor time, extraBytes the peak beyond what
was held before (only meaningful with one form per process). The Gram forms are checked against each other before they
are timed.
"""
import argparse
import math

import torch
import torch.nn.functional as F

from timing import report, require_fast_blas

D, LAYERS, HEADS, VOCAB, CONTEXT = 256, 4, 4, 2048, 128


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm = torch.nn.LayerNorm(D)
        self.qkv = torch.nn.Linear(D, 3 * D, bias=False)
        self.out = torch.nn.Linear(D, D, bias=False)
        self.mlp_norm = torch.nn.LayerNorm(D)
        self.up = torch.nn.Linear(D, 4 * D, bias=False)
        self.down = torch.nn.Linear(4 * D, D, bias=False)

    def forward(self, x, mask, cache=None, position=0):
        B, T, _ = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(B, T, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            keys, values = cache
            keys[:, :, position:position + T] = k
            values[:, :, position:position + T] = v
            k, v = keys[:, :, :position + T], values[:, :, :position + T]
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(D // HEADS))
        if mask is not None:
            scores = scores + mask
        y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(B, T, D)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class GPT(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(VOCAB, D)
        self.position = torch.nn.Embedding(CONTEXT, D)
        self.layers = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.LayerNorm(D)
        self.lm_head = torch.nn.Linear(D, VOCAB, bias=False)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -math.inf).triu(1))
        self.register_buffer("positions", torch.arange(CONTEXT))

    def features(self, ids, caches=None, position=0):
        T = ids.shape[1]
        # The lookup by indices is a module call, so that hooks see it: per-layer forms need its gradient too.
        x = self.embed(ids) + self.position(self.positions[position:position + T].expand(ids.shape[0], T))
        mask = self.mask[position:position + T, :position + T] if T > 1 else None
        for i, layer in enumerate(self.layers):
            x = layer(x, mask, None if caches is None else caches[i], position)
        return self.norm(x)

    def forward(self, ids):
        return self.lm_head(self.features(ids))


def logps(model, ids, score_from=1):
    z = torch.log_softmax(model(ids)[:, score_from - 1:-1], -1)
    return z.gather(2, ids[:, score_from:, None]).squeeze(2)


def training(options):
    torch.manual_seed(1)
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0)
    ids = torch.randint(0, VOCAB, (32, 64))

    def step():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(ids)[:, :-1].reshape(-1, VOCAB), ids[:, 1:].reshape(-1)).backward()
        optimizer.step()

    return {"training step": step}


def sampling(options):
    torch.manual_seed(1)
    model = GPT().eval()
    prompts = torch.randint(0, VOCAB, (options.batch, 8))

    @torch.no_grad()
    def generate():
        shape = (options.batch, HEADS, 72, D // HEADS)
        caches = [(torch.empty(shape), torch.empty(shape)) for _ in range(LAYERS)]
        ids, position, out = prompts, 0, []
        for _ in range(64):
            z = model.lm_head(model.features(ids, caches, position)[:, -1])
            position += ids.shape[1]
            ids = torch.multinomial(torch.softmax(z, -1), 1)
            out.append(ids)
        return torch.cat(out, 1)

    return {"key/value cache": generate}


def gram(options):
    torch.manual_seed(1)
    model = GPT()
    ids = torch.randint(0, VOCAB, (32, 64))
    import functorch
    function, parameters, buffers = functorch.make_functional_with_buffers(model)

    if options.level == "token":
        def one(p, row, position):
            z = torch.log_softmax(function(p, buffers, row[None])[0, :-1], -1)
            return z.gather(1, row[1:, None]).squeeze(1).gather(0, position[None]).squeeze(0)

        def vmap_token():
            rows = ids.repeat_interleave(8, 0)
            positions = torch.arange(55, 63).repeat(32)
            parts = []
            for begin in range(0, 256, 8):
                part = slice(begin, begin + 8)
                gradients = functorch.vmap(functorch.grad(one), in_dims=(None, 0, 0))
                grads = gradients(parameters, rows[part], positions[part])
                parts.append(torch.cat([g.reshape(g.shape[0], -1) for g in grads], 1).detach())
            J = torch.cat(parts)
            return J @ J.t()

        return {"vmap(grad)": vmap_token}

    def one_sequence(p, row):
        z = torch.log_softmax(function(p, buffers, row[None])[0, :-1], -1)
        return z.gather(1, row[1:, None]).sum()

    def vmap_grad():
        K = torch.zeros(32, 32)
        parts = []
        for begin in range(0, 32, 16):
            gradients = functorch.vmap(functorch.grad(one_sequence), in_dims=(None, 0))
            grads = gradients(parameters, ids[begin:begin + 16])
            parts.append([g.reshape(16, -1).detach() for g in grads])
        for pieces in zip(*parts):
            G = torch.cat(pieces)
            K += G @ G.t()
        return K

    def per_layer():
        records, handles = [], []

        def hook(module, inputs, output):
            record = [module, inputs[0].detach(), None]
            records.append(record)
            output.register_hook(lambda g: record.__setitem__(2, g))

        for module in model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.LayerNorm, torch.nn.Embedding)):
                handles.append(module.register_forward_hook(hook))
        total = logps(model, ids).sum()
        # Only the gradients of activations: weights are frozen, the embedding's output starts the graph.
        total.backward()
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
        K = torch.zeros(32, 32)
        with torch.no_grad():
            for module, a, d in records:
                if isinstance(module, torch.nn.Linear):
                    G = torch.bmm(d.transpose(1, 2), a).reshape(32, -1)
                    K += G @ G.t()
                elif isinstance(module, torch.nn.LayerNorm):
                    normal = F.layer_norm(a, (D,))
                    gain, bias = (d * normal).sum(1), d.sum(1)
                    K += gain @ gain.t() + bias @ bias.t()
                else:
                    G = torch.zeros(32, module.num_embeddings, D)
                    G.scatter_add_(1, a[:, :, None].expand(-1, -1, D), d)
                    G = G.reshape(32, -1)
                    K += G @ G.t()
        return K

    def loop():
        P = sum(p.numel() for p in model.parameters())
        J = torch.empty(32, P)
        for i in range(32):
            grads = torch.autograd.grad(logps(model, ids[i:i + 1]).sum(), list(model.parameters()))
            torch.cat([g.reshape(-1) for g in grads], out=J[i])
        return J @ J.t()

    forms = {"vmap(grad)": vmap_grad, "per-layer": per_layer, "loop": loop}
    if options.form is None:
        expected = loop()
        for name in ("vmap(grad)", "per-layer"):
            error = float((forms[name]() - expected).norm() / expected.norm())
            if not error < 1e-4:
                raise SystemExit(f"{name} disagrees with loop: {error}")
    return forms


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["training", "sampling", "gram"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--level", choices=["sequence", "token"], default="sequence")
    parser.add_argument("--form", help="only this form: its memory is then meaningful")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    require_fast_blas()
    forms = {"training": training, "sampling": sampling, "gram": gram}[options.job](options)
    report(forms, 1 if options.level == "token" else options.repeats, options.form and [options.form])


if __name__ == "__main__":
    main()
