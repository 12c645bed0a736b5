"""Adapters of peft and of this package, both ways.

python test/peers/adapters.py OUT [--count N] [--seed S]      peft makes adapters and computes with them
python test/peers/adapters.py OUT --load                      peft computes with the adapters in OUT/*/ours

The first writes OUT/base*/ (models), OUT/adapter*/ and OUT/cases.json, which test/peers/adapters.test.ts compares
with this package. The second writes ours.f64 beside each adapter that this package has saved.
"""

import argparse
import json
import os
import random
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

transformers.logging.set_verbosity_error()
VOCAB = 53
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "vocab_size": VOCAB,
    "eos_token_id": 1,
    "bos_token_id": 0,
}
BASES = [
    ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": False}),
    ("llama", {"tie_word_embeddings": True, "attention_bias": True}),
    ("qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("qwen3", {"num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": False}),
    ("gpt2", {}),
    ("gpt2", {"tie_word_embeddings": False}),
    ("gpt_neox", {"tie_word_embeddings": False}),
    ("gpt_neox", {"tie_word_embeddings": True}),
]
LINEAR = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc", "attn.c_proj", "mlp.c_proj"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}
SAVED = {
    "llama": ["embed_tokens", "lm_head", "head", "norm", "input_layernorm", "model.norm", "tokens", "mlp", "layers.1"],
    "gpt2": ["wte", "lm_head", "ln_f", "ln_1", "wpe", "head", "transformer.wte", "h.0.mlp", "e"],
    "gpt_neox": ["embed_in", "lm_head", "embed_out", "layernorm", "final_layer_norm", "in", "layers.2.attention"],
}
PATTERNS = {
    "llama": [
        r".*\.(q|v)_proj",
        r"(?i).*\.(Q|V)_PROJ",
        r".*\.(?P<p>q|v)_proj",
        r"model\.layers\.[^0]\.self_attn\.\w+_proj",
        r".*layers\.(?:0|2)\..*(?i:DOWN)_proj$",
        r".*(?<=mlp\.)\w+?_proj\Z",
        r"(?x) .* \. up_proj  # the way up",
        r".*\.(?P<l>[qk])_proj(?#both)",
        r"model\.layers\.\d{1,2}\.mlp\.(?!up).*_proj",
        r"(?>model)\.layers\.1\.self_attn\.[k-q]_proj",
        r".*\b(?:k|o)_proj",
        r"(.)(?P=l).*q_proj",
    ],
    "gpt2": [r".*\.c_attn", r"(?s).*h\.[01]\..*c_(?P<kind>fc|proj)", r"transformer\.h\.\d+\.attn\.c_[^f]+", r"(?i:.*C_FC)"],
    "gpt_neox": [r".*query_key_value", r".*\.layers\.[12]\..*dense(_h_to_4h)?", r".*_(?P<t>4h_to_h|h_to_4h)", r".*\.DENSE(?i)"],
}
STARTS = [True, False, "gaussian", "eva", "orthogonal", "pissa", "pissa_niter_4", "olora", "mica"]


def kin(family):
    return family if family in LINEAR else "llama"


def make_base(directory, family, more, seed):
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(family, **SIZES, **more)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        norm = "norm" in name or "ln_" in name
        parameter.data = torch.randn_like(parameter) * 0.25 + (1.0 if norm and name.endswith("weight") else 0.0)
    model.tie_weights()
    model.save_pretrained(directory)


def options_of(draw, family):
    names = LINEAR[kin(family)]
    options = {"r": draw.choice([2, 4]), "lora_alpha": draw.choice([2, 4, 7]), "task_type": "CAUSAL_LM"}
    kind = draw.random()
    if kind < 0.45:
        options["target_modules"] = draw.sample(names, draw.choice([1, 2, 3]))
        if draw.random() < 0.4:
            options["layers_to_transform"] = draw.choice([0, 2, [0, 1], [1], [2, 0]])
            if draw.random() < 0.5:
                options["layers_pattern"] = draw.choice(["layers", "h", ["h", "layers"], []])
    elif kind < 0.8:
        options["target_modules"] = draw.choice(PATTERNS[kin(family)])
    elif kind < 0.95:
        options["target_modules"] = draw.choice(["all-linear", "all-LINEAR"])
    if draw.random() < 0.25:
        options["exclude_modules"] = draw.choice([draw.sample(names, 1), r".*\.0\..*", r".*(?P<a>[02])\..*proj", ["layers.1.mlp"]])
    if draw.random() < 0.6:
        options["modules_to_save"] = draw.sample(SAVED[kin(family)], draw.choice([1, 1, 1, 2]))
    options["init_lora_weights"] = draw.choice(STARTS) if draw.random() < 0.4 else True
    rare = [
        {"use_rslora": True},
        {"use_dora": True},
        {"bias": draw.choice(["all", "lora_only"])},
        {"lora_bias": True},
        {"rank_pattern": {"q_proj": 3, "c_attn": 3, "dense": 3}},
        {"alpha_pattern": {".*v_proj": 3, "c_attn": 5, "dense": 3}},
        {"trainable_token_indices": [1, 2]},
        {"ensure_weight_tying": True},
        {"fan_in_fan_out": True},
        {"layer_replication": [[0, 2], [1, 3]]},
        {"lora_dropout": 0.1},
        {"target_parameters": ["layers.0.mlp.gate_proj.weight"]},
    ]
    return options | (draw.choice(rare) if draw.random() < 0.35 else {})


def logits(model, ids, path):
    with torch.no_grad():
        model.double().eval()(torch.tensor([ids])).logits[0].numpy().tofile(path)


def load_base(directory):
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def make_adapter(directory, base, options, ids, seed):
    """An adapter with numbers as after training, and what peft computes when it reads it again."""
    torch.manual_seed(seed)
    model = peft.get_peft_model(load_base(base), peft.LoraConfig(**options))
    for name, parameter in model.named_parameters():
        trained = "lora_" in name or "modules_to_save" in name or parameter.requires_grad
        if trained:
            parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)
    model.save_pretrained(directory)
    again = peft.PeftModel.from_pretrained(load_base(base), directory)
    logits(again, ids, os.path.join(directory, "theirs.f64"))


def make(options):
    draw = random.Random(options.seed)
    bases = []
    for index, (family, more) in enumerate(BASES):
        directory = os.path.join(options.out, f"base{index}")
        make_base(directory, family, more, index)
        bases.append((directory, family))
    cases = []
    while len(cases) < options.count:
        base, family = bases[len(cases) % len(bases)]
        directory = os.path.join(options.out, f"adapter{len(cases)}")
        lora = options_of(draw, family)
        ids = [draw.randrange(VOCAB) for _ in range(24)]
        try:
            make_adapter(directory, base, lora, ids, draw.randrange(1 << 30))
        except Exception:  # noqa: BLE001  What peft refuses is no case.
            continue
        cases.append({"directory": directory, "base": base, "options": lora, "ids": ids})
    versions = {"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    with open(os.path.join(options.out, "cases.json"), "w") as file:
        json.dump({"versions": versions, "cases": cases}, file)


def load(options):
    with open(os.path.join(options.out, "cases.json")) as file:
        cases = json.load(file)["cases"]
    for case in cases:
        ours = os.path.join(case["directory"], "ours")
        if not os.path.exists(ours):
            continue
        model = peft.PeftModel.from_pretrained(load_base(case["base"]), ours)
        logits(model, case["ids"], os.path.join(case["directory"], "ours.f64"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", action="store_true")
    options = parser.parse_args()
    if options.load:
        load(options)
    else:
        make(options)


main()
