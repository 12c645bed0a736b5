"""What Python's re.fullmatch says of patterns drawn at random.

python test/peers/patterns.py OUT [--count N] [--seed S]

writes OUT/patterns.json: { names, cases: [{ pattern, matches: [0 or 1 for each name] or null where re refuses }] }.
It needs no packages.
"""

import argparse
import json
import os
import random
import re
import warnings

warnings.simplefilter("ignore")
NAMES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.v_proj",
    "model.layers.11.mlp.gate_proj",
    "model.layers.2.mlp.down_proj",
    "transformer.h.0.attn.c_attn",
    "transformer.h.10.mlp.c_fc",
    "gpt_neox.layers.3.attention.dense",
    "lm_head",
    "a",
    "aa",
    "ab",
    "A.b",
    "a b",
    "-",
    "]",
    "a\n",
]
ATOMS = [
    "a", "b", "A", ".", r"\.", "q", "v", "_", "proj", "layers", "self_attn", r"\d", r"\w", r"\W", r"\S", r"\s", "[a-q]",
    "[^a-q]", r"[\w.]", r"[\d]", "[]a]", "[^]a]", "[a-]", "[Q-v]", r"\b", r"\B", "^", "$", r"\A", r"\Z", r"\x61", r"\141",
    r"\u0061", r"\0", "é", "{", "}", "{2}", "a{,2}", "a{1,}", "{}", r"\-", r"\_", r"\q", " ", "#a\n", "-", r"\N{DASH}", r"\1",
    ".*", ".*?", "model", "mlp", "[0-9]+", r"\t", "(?#no)", "[&&a]", r"[\b]", "/", "&",
]
OPENERS = [
    "(", "(?:", "(?P<n>", "(?P<m>", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?s:", "(?x:", "(?m:", "(?-i:", "(?i-s:",
    "(?P=n)", "(?(1)", "(?a:", "(?L:", "(?",
]
QUANTIFIERS = ["*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,2}", "{,1}", "{0,3}?", "{1,2}+", "{3,1}", "**"]
FLAGS = ["(?i)", "(?s)", "(?x)", "(?m)", "(?im)", "(?a)"]


def piece(draw, depth):
    if depth > 0 and draw.random() < 0.35:
        text = draw.choice(OPENERS) + pattern(draw, depth - 1) + ")"
    else:
        text = draw.choice(ATOMS)
    return text + (draw.choice(QUANTIFIERS) if draw.random() < 0.3 else "")


def pattern(draw, depth):
    branches = ["".join(piece(draw, depth) for _ in range(draw.choice([0, 1, 1, 2, 3, 4])))]
    while draw.random() < 0.2:
        branches.append("".join(piece(draw, depth) for _ in range(draw.choice([0, 1, 2]))))
    return "|".join(branches)


def verdict(source):
    try:
        compiled = re.compile(source)
    except (re.error, OverflowError, RecursionError):
        return None
    return [int(compiled.fullmatch(name) is not None) for name in NAMES]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    cases = []
    for _ in range(options.count):
        flags = draw.choice(FLAGS) if draw.random() < 0.2 else ""
        ends = draw.choice([("", ""), (".*", ""), ("", ".*"), (".*", ".*")])
        source = flags + ends[0] + pattern(draw, 2) + ends[1]
        cases.append({"pattern": source, "matches": verdict(source)})
    with open(os.path.join(options.out, "patterns.json"), "w") as file:
        json.dump({"names": NAMES, "cases": cases}, file)


main()
