"""Writes test/golden/tokenizers: small tokenizers, and what transformers makes of some texts and ids with them.

python test/peers/tokenizers_golden.py
"""

import json
import os
import random
import tempfile

import tokenizer_kinds
import tokenizers_run

GOLDEN = os.path.join(tokenizer_kinds.ROOT, "test", "golden", "tokenizers")
#: Of the vocabulary: enough to merge some words, and small enough to be kept.
SIZE = 420


def main():
    tokenizer_kinds.SCALE = SIZE
    os.makedirs(GOLDEN, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in tokenizer_kinds.write(folder):
            made = tokenizers_run.cases(os.path.join(folder, name), 60, random.Random(3))
            files = {}
            for file in sorted(os.listdir(os.path.join(folder, name))):
                with open(os.path.join(folder, name, file), encoding="utf-8") as source:
                    files[file] = json.load(source)
            with open(os.path.join(GOLDEN, f"{name}.json"), "w", encoding="utf-8") as out:
                json.dump({**made, "files": files}, out, ensure_ascii=True, separators=(",", ":"))
                out.write("\n")


if __name__ == "__main__":
    main()
