"""Logits of models that transformers reads from configurations drawn at random.

python test/peers/models.py OUT [--count N] [--seed S]

writes a directory for each model and OUT/cases.json, which test/peers/models.test.ts compares with this package.
A configuration has keys of its family and keys that other families read, in old and new forms.
"""

import argparse
import json
import os
import random
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers.activations import ACT2FN  # noqa: E402

transformers.logging.set_verbosity_error()
VOCAB = 61
POSITIONS = 48
FAMILIES = ["gpt2", "gpt_neox", "llama", "qwen2", "qwen3"]


def maybe(draw, chance, key, *values):
    return {key: draw.choice(values)} if draw.random() < chance else {}


def rotary_options(draw):
    kind = draw.choice(["default", "default", "linear", "llama3", "yarn"])
    options = maybe(draw, 0.8, draw.choice(["rope_type", "type"]), kind)
    options |= maybe(draw, 0.6, "rope_theta", 1000.0, 10000, 500000.0)
    options |= maybe(draw, 0.3, "partial_rotary_factor", 0.25, 0.5, 1.0)
    if kind != "default" or draw.random() < 0.2:
        options |= {"factor": draw.choice([2.0, 4, 8.0])}
    if kind == "llama3":
        options |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        options |= maybe(draw, 0.7, "original_max_position_embeddings", 16, 24)
    options |= maybe(draw, 0.1, "attention_factor", 1.3)
    return options


def rotary_keys(draw):
    keys = maybe(draw, 0.4, "rope_theta", 500.0, 100000.0)
    keys |= maybe(draw, 0.2, "partial_rotary_factor", 0.5, 1.0)
    keys |= maybe(draw, 0.1, "original_max_position_embeddings", 16, 32)
    keys |= maybe(draw, 0.15, "rotary_pct", 0.5, 1.0)
    keys |= maybe(draw, 0.1, "rotary_emb_base", 300)
    if draw.random() < 0.5:
        keys["rope_parameters"] = rotary_options(draw)
    if draw.random() < 0.4:
        keys["rope_scaling"] = draw.choice([None, {}, rotary_options(draw), rotary_options(draw)])
    return keys


def window_keys(draw, layers):
    keys = maybe(draw, 0.2, "use_sliding_window", True, False)
    keys |= maybe(draw, 0.25, "sliding_window", None, 4, POSITIONS, 4096)
    keys |= maybe(draw, 0.2, "max_window_layers", 0, 1, layers, 28)
    if draw.random() < 0.15:
        keys["layer_types"] = [draw.choice(["full_attention", "full_attention", "sliding_attention"]) for _ in range(layers)]
    return keys


def foreign_keys(draw):
    keys = maybe(draw, 0.1, "is_causal", True, True, False, None)
    keys |= maybe(draw, 0.2, "pretraining_tp", 2)
    keys |= maybe(draw, 0.2, "attention_dropout", 0.1)
    keys |= maybe(draw, 0.2, "use_cache", False)
    keys |= maybe(draw, 0.1, "mlp_bias", True)
    keys |= maybe(draw, 0.1, "a_key_of_nobody", 3)
    keys |= maybe(draw, 0.03, "qk_layernorm", True)
    keys |= maybe(draw, 0.03, "attn_logit_softcapping", 30.0)
    keys |= maybe(draw, 0.03, "per_layer_config", {}, {"0": {"intermediate_size": 20}})
    keys |= maybe(draw, 0.1, "pad_token_id", 0)
    keys |= maybe(draw, 0.03, "add_cross_attention", True)
    keys |= maybe(draw, 0.03, "scale_attn_by_inverse_layer_idx", True)
    keys |= maybe(draw, 0.1, "output_attentions", True)
    keys |= maybe(draw, 0.1, "chunk_size_feed_forward", 3)
    return keys


def configuration(draw, family):
    layers = draw.choice([1, 2, 3])
    heads = draw.choice([1, 2, 4])
    width = draw.choice([4, 8, 16])
    hidden = heads * width
    names = list(ACT2FN.keys())
    common = {"model_type": family, "vocab_size": VOCAB} | maybe(draw, 0.6, "tie_word_embeddings", True, False)
    common |= foreign_keys(draw) | window_keys(draw, layers)
    if family == "gpt2":
        sizes = {"n_embd": hidden, "n_layer": layers, "n_head": heads, "n_positions": POSITIONS}
        if draw.random() < 0.2:
            aliases = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}
            sizes = {aliases.get(key, key): value for key, value in sizes.items()}
        common |= sizes | maybe(draw, 0.3, "n_inner", None, 20) | maybe(draw, 0.5, "activation_function", "gelu_new", *names)
        common |= maybe(draw, 0.3, "scale_attn_weights", True, False) | maybe(draw, 0.2, "reorder_and_upcast_attn", True)
        return common | maybe(draw, 0.3, "layer_norm_epsilon", 1e-3) | maybe(draw, 0.1, "intermediate_size", 12)
    common |= {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    common |= {"intermediate_size": draw.choice([12, 20]), "max_position_embeddings": POSITIONS} | rotary_keys(draw)
    if family == "gpt_neox":
        common |= maybe(draw, 0.5, "hidden_act", "gelu", *names) | maybe(draw, 0.4, "use_parallel_residual", True, False)
        common |= maybe(draw, 0.3, "attention_bias", True, False) | maybe(draw, 0.1, "head_dim", width, 2 * width)
        return common | maybe(draw, 0.3, "layer_norm_eps", 1e-3)
    common |= maybe(draw, 0.4, "hidden_act", "silu", "silu", "swish", "swish", *names) | maybe(draw, 0.3, "rms_norm_eps", 1e-3)
    common |= maybe(draw, 0.4, "attention_bias", True, False) | maybe(draw, 0.3, "mlp_bias", True, False)
    kv = draw.choice([divisor for divisor in (1, 2, 4) if heads % divisor == 0] + [None])
    if family == "llama" or draw.random() < 0.9:
        common["num_key_value_heads"] = kv
    if family == "qwen3" or draw.random() < 0.4:
        common["head_dim"] = draw.choice([4, 8, 16])
    return common


def logits_of(directory, config, seed):
    """What transformers computes in double from a directory with this config.json and random weights."""
    path = os.path.join(directory, "config.json")
    with open(path, "w") as file:
        json.dump(config, file)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(directory))
    for name, parameter in model.named_parameters():
        norm = "norm" in name or "ln_" in name
        # Linear weights keep the size of what goes through them, so that rounding stays what it is in real models.
        scale = 0.2 if parameter.ndim == 1 else 0.8 / max(parameter.shape[-1], 16) ** 0.5
        parameter.data = torch.randn_like(parameter) * scale + (1.0 if norm and name.endswith("weight") else 0.0)
    model.tie_weights()
    model.save_pretrained(directory)
    with open(path, "w") as file:
        json.dump(config, file)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).double().eval()
    ids = torch.randint(0, VOCAB, (1, 40))
    with torch.no_grad():
        logits = model(ids).logits[0]
    logits.numpy().tofile(os.path.join(directory, "logits.f64"))
    return ids[0].tolist()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    cases = []
    while len(cases) < options.count:
        family = FAMILIES[len(cases) % len(FAMILIES)]
        config = configuration(draw, family)
        directory = os.path.join(options.out, f"model{len(cases)}")
        os.makedirs(directory, exist_ok=True)
        try:
            ids = logits_of(directory, config, draw.randrange(1 << 30))
        except Exception:  # noqa: BLE001  What transformers does not compute is no case.
            continue
        cases.append({"directory": directory, "config": config, "ids": ids})
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    with open(os.path.join(options.out, "cases.json"), "w") as file:
        json.dump({"versions": versions, "cases": cases}, file)


main()
