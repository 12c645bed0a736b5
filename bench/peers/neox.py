"""The 160M GPT-NeoX of the hardware table in plain PyTorch.

It has a parallel residual, rotary positions on a quarter of each head, fused query, key and value, and an untied
classifier. Attention is given from outside (attend(q, k, v, layer)), so that the jobs of gpu.py share one model.
"""
import math

import torch
import torch.nn.functional as F


def explicit_attention(q, k, v, attn_mask=None, is_causal=False):
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]))
    if is_causal:
        attn_mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    return torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype) @ v


fused_attention = getattr(F, "scaled_dot_product_attention", explicit_attention)


def fused(q, k, v, layer):
    return fused_attention(q, k, v, is_causal=True)


def explicit(q, k, v, layer):
    return explicit_attention(q, k, v, is_causal=True)


def rotate(x, cos, sin):
    """Rotary positions on the first part of each head, in halves."""
    turned, kept = x[..., :cos.shape[-1]], x[..., cos.shape[-1]:]
    a, b = turned.chunk(2, -1)
    return torch.cat((turned * cos + torch.cat((-b, a), -1) * sin, kept), -1)


class Layer(torch.nn.Module):
    def __init__(self, hidden, heads, mlp):
        super().__init__()
        self.heads = heads
        self.input_layernorm = torch.nn.LayerNorm(hidden)
        self.query_key_value = torch.nn.Linear(hidden, 3 * hidden)
        self.dense = torch.nn.Linear(hidden, hidden)
        self.post_attention_layernorm = torch.nn.LayerNorm(hidden)
        self.dense_h_to_4h = torch.nn.Linear(hidden, mlp)
        self.dense_4h_to_h = torch.nn.Linear(mlp, hidden)

    def forward(self, x, cos, sin, attend, index):
        B, T, C = x.shape
        # Head by head: the query, key and value of one head lie side by side.
        qkv = self.query_key_value(self.input_layernorm(x)).reshape(B, T, self.heads, -1)
        q, k, v = qkv.transpose(1, 2).chunk(3, -1)
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, index).transpose(1, 2).reshape(B, T, C)
        up = self.dense_h_to_4h(self.post_attention_layernorm(x))
        return x + self.dense(y) + self.dense_4h_to_h(F.gelu(up))


class NeoX(torch.nn.Module):
    def __init__(self, vocab, hidden, layers, heads, mlp, positions, rotary=0.25):
        super().__init__()
        self.embed_in = torch.nn.Embedding(vocab, hidden)
        self.layers = torch.nn.ModuleList(Layer(hidden, heads, mlp) for _ in range(layers))
        self.final_layer_norm = torch.nn.LayerNorm(hidden)
        self.embed_out = torch.nn.Linear(hidden, vocab, bias=False)
        turned = int(hidden // heads * rotary)
        frequencies = 10000 ** -(torch.arange(0, turned, 2).float() / turned)
        angles = torch.outer(torch.arange(positions).float(), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                torch.nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(p)

    def features(self, ids, positions, attend):
        """positions: a slice, or a tensor of indices where shapes must not change."""
        x, cos, sin = self.embed_in(ids), self.cos[positions], self.sin[positions]
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, attend, i)
        return self.final_layer_norm(x)

    def forward(self, ids, attend=fused):
        """Log-probs [B, T - 1] of every token after the first."""
        z = self.embed_out(self.features(ids, slice(0, ids.shape[1]), attend)[:, :-1])
        return torch.log_softmax(z.float(), -1).gather(-1, ids[:, 1:, None]).squeeze(-1)
