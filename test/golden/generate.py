#!/usr/bin/env python3
"""Golden values for every model family, from plain float64 implementations that share nothing with the library.

    python3 test/golden/generate.py        (needs PyTorch >= 1.13; writes the directories beside this file)

Each directory is a tiny random Hugging Face checkpoint (config.json, model.safetensors in F32) with
  golden.json         a ragged batch and, in float64, the logits at each sequence's last position, the log-prob of each token, the loss
                      L = -sum_i coefficients[i] * logp_i over the scored tokens, and a greedy continuation of the first sequence
  golden.safetensors  dL/d(parameter) for every parameter, in F64
The forward passes follow the papers and the families' published modelling code; autograd differentiates them.
"""
import json
import math
import os
import struct

import torch

torch.set_default_dtype(torch.float64)
HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB = 61


# ---- building blocks ---------------------------------------------------------------------------------------------------------

def layer_norm(x, gain, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred ** 2).mean(-1, keepdim=True) + eps) * gain + bias


def rms_norm(x, gain, eps):
    return x / torch.sqrt((x ** 2).mean(-1, keepdim=True) + eps) * gain


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def rotate(x, inv_freq):
    """x [heads, T, D]; the first 2 * len(inv_freq) dimensions turn, pair (i, i + len)."""
    half = len(inv_freq)
    angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * inv_freq[None, :]
    cos, sin = torch.cos(angle), torch.sin(angle)
    first, second, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


def inverse_frequencies(base, dims):
    return torch.tensor([base ** (-2 * i / dims) for i in range(dims // 2)])


def llama3_frequencies(base, dims, factor, low, high, original):
    result = []
    for i in range(dims // 2):
        f = base ** (-2 * i / dims)
        wavelength = 2 * math.pi / f
        if wavelength > original / low:
            f = f / factor
        elif wavelength >= original / high:
            smooth = (original / wavelength - low) / (high - low)
            f = (1 - smooth) * f / factor + smooth * f
        result.append(f)
    return torch.tensor(result)


def attention(q, k, v, scale):
    """q [H, T, D], k and v [K, T, D] -> [T, H * D]; head h reads key/value head h // (H / K)."""
    group = q.shape[0] // k.shape[0]
    T = q.shape[1]
    out = []
    for h in range(q.shape[0]):
        scores = q[h] @ k[h // group].T * scale
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        out.append(torch.softmax(scores, -1) @ v[h // group])
    return torch.cat(out, -1)


def heads(x, count):
    """[T, count * D] -> [count, T, D]."""
    return x.reshape(x.shape[0], count, -1).transpose(0, 1)


# ---- families: logits [T, V] of one sequence; p maps checkpoint names to tensors -----------------------------------------------

def gpt(c, p, ids):
    H = c["num_attention_heads"]
    D = c["hidden_size"] // H
    x = p["embed.weight"][ids] + p["position.weight"][: len(ids)]
    for i in range(c["num_hidden_layers"]):
        n = f"layers.{i}."
        y = layer_norm(x, p[n + "attention_norm.weight"], p[n + "attention_norm.bias"], c["layer_norm_eps"])
        q, k, v = (y @ p[n + "attention.qkv.weight"].T).chunk(3, -1)
        x = x + attention(heads(q, H), heads(k, H), heads(v, H), D ** -0.5) @ p[n + "attention.out.weight"].T
        y = layer_norm(x, p[n + "mlp_norm.weight"], p[n + "mlp_norm.bias"], c["layer_norm_eps"])
        x = x + gelu(y @ p[n + "mlp.up.weight"].T) @ p[n + "mlp.down.weight"].T
    x = layer_norm(x, p["norm.weight"], p["norm.bias"], c["layer_norm_eps"])
    return x @ p["lm_head.weight"].T


def gpt2(c, p, ids):
    H = c["n_head"]
    D = c["n_embd"] // H
    eps = c["layer_norm_epsilon"]
    x = p["transformer.wte.weight"][ids] + p["transformer.wpe.weight"][: len(ids)]
    for i in range(c["n_layer"]):
        n = f"transformer.h.{i}."
        y = layer_norm(x, p[n + "ln_1.weight"], p[n + "ln_1.bias"], eps)
        q, k, v = (y @ p[n + "attn.c_attn.weight"] + p[n + "attn.c_attn.bias"]).split(c["n_embd"], -1)
        y = attention(heads(q, H), heads(k, H), heads(v, H), D ** -0.5)
        x = x + y @ p[n + "attn.c_proj.weight"] + p[n + "attn.c_proj.bias"]
        y = layer_norm(x, p[n + "ln_2.weight"], p[n + "ln_2.bias"], eps)
        y = gelu_tanh(y @ p[n + "mlp.c_fc.weight"] + p[n + "mlp.c_fc.bias"])
        x = x + y @ p[n + "mlp.c_proj.weight"] + p[n + "mlp.c_proj.bias"]
    x = layer_norm(x, p["transformer.ln_f.weight"], p["transformer.ln_f.bias"], eps)
    return x @ p["transformer.wte.weight"].T


def gpt_neox(c, p, ids):
    H = c["num_attention_heads"]
    D = c["hidden_size"] // H
    eps = c["layer_norm_eps"]
    rope = c.get("rope_parameters", {})
    dims = int(D * rope.get("partial_rotary_factor", c.get("rotary_pct")))
    inv_freq = inverse_frequencies(rope.get("rope_theta", c.get("rotary_emb_base")), dims)
    activation = {"gelu": gelu, "gelu_new": gelu_tanh, "gelu_fast": gelu_tanh}[c["hidden_act"]]
    x = p["gpt_neox.embed_in.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        n = f"gpt_neox.layers.{i}."

        def linear(name, y):
            return y @ p[n + name + ".weight"].T + p.get(n + name + ".bias", 0)

        def attend(y):
            fused = linear("attention.query_key_value", y).reshape(len(ids), H, 3, D)  # each head's q, k, v in turn
            q, k, v = (fused[:, :, j].transpose(0, 1) for j in range(3))
            return linear("attention.dense", attention(rotate(q, inv_freq), rotate(k, inv_freq), v, D ** -0.5))

        def mlp(y):
            return linear("mlp.dense_4h_to_h", activation(linear("mlp.dense_h_to_4h", y)))

        def norm(name, y):
            return layer_norm(y, p[n + name + ".weight"], p[n + name + ".bias"], eps)

        attended = attend(norm("input_layernorm", x))
        if c["use_parallel_residual"]:
            x = x + attended + mlp(norm("post_attention_layernorm", x))
        else:
            x = x + attended
            x = x + mlp(norm("post_attention_layernorm", x))
    x = layer_norm(x, p["gpt_neox.final_layer_norm.weight"], p["gpt_neox.final_layer_norm.bias"], eps)
    return x @ p["embed_out.weight"].T


def gated(c, p, ids):
    """llama, qwen2, qwen3: biases and q/k norms where the checkpoint has them."""
    H, K, eps = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"]
    D = c.get("head_dim", c["hidden_size"] // H)
    rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
    theta = rope.get("rope_theta", c.get("rope_theta"))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "llama3":
        inv_freq = llama3_frequencies(theta, D, rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"])
    else:
        inv_freq = inverse_frequencies(theta, D) / (rope["factor"] if kind == "linear" else 1)
    x = p["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        n = f"model.layers.{i}."

        def linear(name, y):
            return y @ p[n + name + ".weight"].T + p.get(n + name + ".bias", 0)

        def norm_heads(name, y):
            return rms_norm(y, p[n + name + ".weight"], eps) if n + name + ".weight" in p else y

        y = rms_norm(x, p[n + "input_layernorm.weight"], eps)
        q = rotate(norm_heads("self_attn.q_norm", heads(linear("self_attn.q_proj", y), H)), inv_freq)
        k = rotate(norm_heads("self_attn.k_norm", heads(linear("self_attn.k_proj", y), K)), inv_freq)
        v = heads(linear("self_attn.v_proj", y), K)
        x = x + linear("self_attn.o_proj", attention(q, k, v, D ** -0.5))
        y = rms_norm(x, p[n + "post_attention_layernorm.weight"], eps)
        gate = linear("mlp.gate_proj", y)
        x = x + linear("mlp.down_proj", gate / (1 + torch.exp(-gate)) * linear("mlp.up_proj", y))
    x = rms_norm(x, p["model.norm.weight"], eps)
    return x @ p.get("lm_head.weight", p["model.embed_tokens.weight"]).T


# ---- checkpoints: names and shapes in transformers' own words -----------------------------------------------------------------

def gpt_shapes(c):
    C, F = c["hidden_size"], c["intermediate_size"]
    shapes = {"embed.weight": [VOCAB, C], "position.weight": [c["max_position_embeddings"], C]}
    for i in range(c["num_hidden_layers"]):
        n = f"layers.{i}."
        shapes.update({n + "attention_norm.weight": [C], n + "attention_norm.bias": [C], n + "attention.qkv.weight": [3 * C, C], n + "attention.out.weight": [C, C]})
        shapes.update({n + "mlp_norm.weight": [C], n + "mlp_norm.bias": [C], n + "mlp.up.weight": [F, C], n + "mlp.down.weight": [C, F]})
    shapes.update({"norm.weight": [C], "norm.bias": [C], "lm_head.weight": [VOCAB, C]})
    return shapes


def gpt2_shapes(c):
    C = c["n_embd"]
    F = c["n_inner"] or 4 * C
    shapes = {"transformer.wte.weight": [VOCAB, C], "transformer.wpe.weight": [c["n_positions"], C]}
    for i in range(c["n_layer"]):
        n = f"transformer.h.{i}."
        for name, rows, columns in [("attn.c_attn", C, 3 * C), ("attn.c_proj", C, C), ("mlp.c_fc", C, F), ("mlp.c_proj", F, C)]:
            shapes.update({n + name + ".weight": [rows, columns], n + name + ".bias": [columns]})
        for name in ["ln_1", "ln_2"]:
            shapes.update({n + name + ".weight": [C], n + name + ".bias": [C]})
    shapes.update({"transformer.ln_f.weight": [C], "transformer.ln_f.bias": [C]})
    return shapes


def gpt_neox_shapes(c):
    C, F = c["hidden_size"], c["intermediate_size"]
    shapes = {"gpt_neox.embed_in.weight": [VOCAB, C]}
    for i in range(c["num_hidden_layers"]):
        n = f"gpt_neox.layers.{i}."
        for name, out, ins in [("attention.query_key_value", 3 * C, C), ("attention.dense", C, C), ("mlp.dense_h_to_4h", F, C), ("mlp.dense_4h_to_h", C, F)]:
            shapes[n + name + ".weight"] = [out, ins]
            if c.get("attention_bias", True) or name.startswith("mlp"):
                shapes[n + name + ".bias"] = [out]
        for name in ["input_layernorm", "post_attention_layernorm"]:
            shapes.update({n + name + ".weight": [C], n + name + ".bias": [C]})
    shapes.update({"gpt_neox.final_layer_norm.weight": [C], "gpt_neox.final_layer_norm.bias": [C], "embed_out.weight": [VOCAB, C]})
    return shapes


def gated_shapes(c):
    C, F, H, K = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["num_key_value_heads"]
    D = c.get("head_dim", C // H)
    qkv_bias = c["model_type"] == "qwen2" or c.get("attention_bias", False)
    out_bias = c["model_type"] != "qwen2" and c.get("attention_bias", False)
    shapes = {"model.embed_tokens.weight": [VOCAB, C], "model.norm.weight": [C]}
    for i in range(c["num_hidden_layers"]):
        n = f"model.layers.{i}."
        linears = [("self_attn.q_proj", H * D, C, qkv_bias), ("self_attn.k_proj", K * D, C, qkv_bias), ("self_attn.v_proj", K * D, C, qkv_bias),
                   ("self_attn.o_proj", C, H * D, out_bias)]
        linears += [(f"mlp.{name}_proj", out, ins, c.get("mlp_bias", False)) for name, out, ins in [("gate", F, C), ("up", F, C), ("down", C, F)]]
        for name, out, ins, bias in linears:
            shapes[n + name + ".weight"] = [out, ins]
            if bias:
                shapes[n + name + ".bias"] = [out]
        for name in ["input_layernorm", "post_attention_layernorm"]:
            shapes[n + name + ".weight"] = [C]
        if c["model_type"] == "qwen3":
            shapes.update({n + "self_attn.q_norm.weight": [D], n + "self_attn.k_norm.weight": [D]})
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = [VOCAB, C]
    return shapes


GATED = {"vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 22, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "hidden_act": "silu", "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2}
NEOX = {"model_type": "gpt_neox", "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 22, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 32, "layer_norm_eps": 1e-5, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0}

CASES = {
    "gpt": (gpt, gpt_shapes, {
        "model_type": "gpt", "vocab_size": VOCAB, "hidden_size": 15, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 22,
        "max_position_embeddings": 22, "layer_norm_eps": 1e-5, "tie_word_embeddings": False}),
    # All three branches of the llama3 rule; heads wider than hidden_size / num_attention_heads; every bias.
    "llama": (gated, gated_shapes, {
        **GATED, "model_type": "llama", "head_dim": 6, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "rope_theta": 500.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 60}}),
    "llama_linear": (gated, gated_shapes, {
        **GATED, "model_type": "llama", "num_key_value_heads": 1, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.5}}),
    "gpt_neox": (gpt_neox, gpt_neox_shapes, {**NEOX, "hidden_act": "gelu", "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": True}),
    "gpt_neox_sequential": (gpt_neox, gpt_neox_shapes, {
        **NEOX, "hidden_act": "gelu_fast", "attention_bias": False, "use_parallel_residual": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}}),
    "gpt2": (gpt2, gpt2_shapes, {
        "model_type": "gpt2", "vocab_size": VOCAB, "n_embd": 15, "n_layer": 2, "n_head": 3, "n_inner": None, "n_positions": 22, "n_ctx": 22,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "initializer_range": 0.02, "bos_token_id": 60, "eos_token_id": 60}),
    "qwen2": (gated, gated_shapes, {
        **GATED, "model_type": "qwen2", "tie_word_embeddings": True, "rope_theta": 1000000.0, "use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1}),
    "qwen3": (gated, gated_shapes, {
        **GATED, "model_type": "qwen3", "head_dim": 10, "num_attention_heads": 2, "num_key_value_heads": 1, "attention_bias": False, "tie_word_embeddings": False,
        "rope_theta": 1000000.0, "rope_scaling": None, "use_sliding_window": False, "sliding_window": None}),
}


# ---- writing -----------------------------------------------------------------------------------------------------------------

def write_safetensors(path, tensors):
    """tensors: name -> (dtype, shape, bytes)."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def packed(kind, tensor):
    return struct.pack(f"<{tensor.numel()}{kind}", *tensor.reshape(-1).tolist())


def write_case(index, name, forward, shapes, config):
    generator = torch.Generator().manual_seed(1000 + index)
    parameters = {}
    for key, shape in shapes(config).items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 2:
            # Large enough for attention and activations to be far from linear.
            value = noise * (0.7 if any(part in key for part in ["embed.", "embed_in", "embed_tokens", "position", "wte", "wpe"]) else 1.3 / math.sqrt(min(shape)))
        else:
            value = (1 + 0.3 * noise) if "norm" in key and key.endswith("weight") or ".ln_" in key and key.endswith("weight") else 0.3 * noise
        parameters[key] = value.float().double().requires_grad_()

    filled = dict(config)
    if filled.get("model_type") == "gpt2":
        filled["n_inner"] = filled["n_inner"] or 4 * filled["n_embd"]
    lengths = [9, 4, 14]
    input_ids = [torch.randint(0, VOCAB, (n,), generator=generator).tolist() for n in lengths]
    score_from = [3, 1, 6]
    logps = []
    last_logits = []
    for ids in input_ids:
        logits = forward(filled, parameters, ids)
        last_logits.append(logits[-1].tolist())
        logps.append(torch.log_softmax(logits[:-1], -1)[torch.arange(len(ids) - 1), ids[1:]])
    scored = torch.cat([row[start - 1:] for row, start in zip(logps, score_from)])
    coefficients = torch.randn(len(scored), generator=generator).float().double()
    loss = -(coefficients * scored).sum()
    gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()))))

    greedy, margin = list(input_ids[0]), math.inf
    with torch.no_grad():
        for _ in range(12):
            top = torch.topk(forward(filled, parameters, greedy)[-1], 2)
            margin = min(margin, (top.values[0] - top.values[1]).item())
            greedy.append(top.indices[0].item())
    assert margin > 1e-3, f"{name}: the greedy continuation hangs on {margin}; change the seed"

    directory = os.path.join(HERE, name)
    os.makedirs(directory, exist_ok=True)
    stored = {key: ("F32", value.shape, packed("f", value)) for key, value in sorted(parameters.items())}
    if name == "gpt_neox":
        # Buffers that old Pythia checkpoints carry.
        stored["gpt_neox.layers.0.attention.bias"] = ("BOOL", [1, 1, 4, 4], bytes([1] * 16))
        stored["gpt_neox.layers.0.attention.masked_bias"] = ("F32", [], struct.pack("<f", -1e9))
        stored["gpt_neox.layers.0.attention.rotary_emb.inv_freq"] = ("F32", [1], struct.pack("<f", 1.0))
    write_safetensors(os.path.join(directory, "model.safetensors"), stored)
    write_safetensors(os.path.join(directory, "golden.safetensors"), {key: ("F64", value.shape, packed("d", value)) for key, value in gradients.items()})
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    golden = {
        "input_ids": input_ids, "score_from": score_from, "coefficients": coefficients.tolist(), "last_logits": last_logits,
        "logps": [row.tolist() for row in logps], "loss": loss.item(), "greedy_ids": greedy[len(input_ids[0]):], "greedy_margin": margin,
    }
    with open(os.path.join(directory, "golden.json"), "w") as file:
        json.dump(golden, file)
        file.write("\n")
    print(f"{name}: {sum(v.numel() for v in parameters.values())} parameters, loss {loss.item():.6f}, greedy margin {margin:.4f}")


for number, (case, (forward, shapes, config)) in enumerate(CASES.items()):
    write_case(number, case, forward, shapes, config)
