"""The row `sample` of gpu.py: sampling with a key/value cache."""
import torch

from gpu_form import Form
from neox import fused, fused_attention


class Cache:
    """Keys and values of every layer [B, heads, length, D], allocated once."""

    def __init__(self, run, batch, length):
        c = run.sizes["neox"]
        shape = (c["layers"], batch, c["heads"], length, c["hidden"] // c["heads"])
        self.keys = torch.zeros(shape, device=run.device, dtype=run.dtype)
        self.values = torch.zeros(shape, device=run.device, dtype=run.dtype)
        self.position = 0
        self.at = torch.zeros(1, dtype=torch.long, device=run.device)
        self.places = torch.arange(length, device=run.device)

    def grow(self, q, k, v, layer):
        """The position is known to the host: attends to just what is there."""
        begin, end = self.position, self.position + q.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, begin:end] = k
        values[:, :, begin:end] = v
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
        positions = slice(cache.position, cache.position + ids.shape[1])
        z = model.embed_out(model.features(ids, positions, cache.grow)[:, -1])
        cache.position += ids.shape[1]
        return z

    def fixed_logits(ids):
        return model.embed_out(model.features(ids, cache.at, cache.fixed)[:, -1])

    def draw(z):
        return torch.multinomial(torch.softmax(z.float(), -1), 1)

    def draw_without_waiting(z):
        """What multinomial does inside: argmax p / e, e ~ Exp(1).

        multinomial itself asks the device whether its input is valid, which a graph cannot.
        """
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
        cache.keys[:, :, :, half:].zero_()
        cache.values[:, :, :, half:].zero_()
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

    graph = None
    state = dict(
        ids=prompts[:, :1].clone(),
        out=torch.zeros(B, new, dtype=torch.long, device=run.device),
        step=torch.zeros(1, dtype=torch.long, device=run.device),
    )

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
    return [
        Form("sample", "key/value cache, eager", eager, note),
        Form("sample", "key/value cache, CUDA graph", graphed, note),
    ]
