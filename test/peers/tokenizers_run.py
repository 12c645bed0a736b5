"""What transformers' tokenizers make of texts and token ids, for tokenizers of every kind.

python test/peers/tokenizers_run.py OUT [--texts N] [--directory DIR ...]

writes the directories, a file of cases for each and a list of both in OUT/index.json; tokenizers.test.ts compares
them with this package.
"""

import argparse
import json
import os
import random
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")
import tokenizers as rust  # noqa: E402
import transformers  # noqa: E402

import tokenizer_kinds  # noqa: E402
from trl.data_utils import common_prefix_length  # noqa: E402

PIECES = (
    [" ", "  ", "\t", "\n", "\n\n", "\r\n", " .", " ,", " n't", "I'm", "it's", "IT'S", "'ſ", "0", "1234567", "3.14"]
    + ["é", "e\u0301", "ß", "Ǆ", "ﬁ", "Ω", "ΑΣ", "ж", "漢字", "한국어", "한", "ไทย", "שלום", "مرحبا", "🐦", "👩‍👩‍👧‍👦", "🇺🇸"]
    + ["\u0000", "\u0007", "\u00a0", "\u2028", "\u200d", "\u0085", "�", "▁", "▁▁", "Ġ", "<", "</s", "##", "\ufeff", "_"]
    + ["hello", "World", "def f(x):", "\\frac{1}{2}", "https://a.b/c?d=e", " " * 16, "aaaaaaaaaaaaaaaa", "``", "½", "²"]
    + ["<s>", "</s>", "<unk>", "<|endoftext|>", "<0x0A>", "alone", "Alone", "alones", "<L>", "<R>", "<LR>", "Norm", "norm"]
    + ["<|sp|>", "<|s", "né", "NÉ", "<|im_start|>", "<|im_end|>", "<think>", "<pad>", "<x>", "<e1>", "<e2>", "<eos>", "<bos>"]
    + ["<image>", "<audio>", "[CLS]", "[UNK]", "<tool_call>", "<end>", "<a>", "<c>", "▁word", "word"]
)


def texts(count, rng):
    """Lines of text, mixtures of pieces, and random characters."""
    lines = tokenizer_kinds.corpus()
    made = [""]
    while len(made) < count:
        kind = len(made) % 4
        if kind == 0:
            made.append(rng.choice(lines))
        elif kind == 1:
            made.append("".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12))))
        elif kind == 2:
            made.append("".join(chr(code(rng)) for _ in range(rng.randint(1, 12))))
        else:
            words = rng.choice(lines).split(" ") + rng.sample(PIECES, 3)
            rng.shuffle(words)
            made.append(" ".join(words)[:200])
    return made


def code(rng):
    """A code point; most are from the first plane."""
    while True:
        point = rng.randint(1, 0x3000 if rng.random() < 0.5 else 0x10FFFF if rng.random() < 0.3 else 0xFFFF)
        if not 0xD800 <= point < 0xE000:
            return point


def id_lists(count, size, rng):
    """Random ids, some of them beyond the vocabulary. Runs of small ids are bytes in many vocabularies."""
    made = [[]]
    while len(made) < count:
        top = min(size, 300) if rng.random() < 0.5 else size + 3
        made.append([rng.randrange(top) for _ in range(rng.randint(1, 16))])
    return made


def outcome(function):
    try:
        return function()
    except BaseException as error:  # A panic of Rust is no Exception.
        return {"error": str(error)[:200]}


def pair(tokenizer, prompt, completion):
    """A row of supervised training as TRL's SFTTrainer reads it: its tokens, and where the completion begins."""
    end = tokenizer.eos_token
    closed = completion if end is None or completion.endswith(end) else completion + end
    ids = tokenizer(text=prompt + closed)["input_ids"]
    return [ids, common_prefix_length(tokenizer(text=prompt)["input_ids"], ids)]


def cases(directory, count, rng):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    strings = texts(count, rng)
    lists = id_lists(count, len(tokenizer), rng)
    return {
        "vocab_size": len(tokenizer),
        "eos_token": tokenizer.eos_token,
        "eos_token_id": tokenizer.eos_token_id,
        "class": type(tokenizer).__name__,
        "encode": [
            [text, outcome(lambda: tokenizer(text)["input_ids"]), outcome(lambda: tokenizer.encode(text, add_special_tokens=False))]
            for text in strings
        ],
        "pairs": [
            [prompt, completion, outcome(lambda: pair(tokenizer, prompt, completion))]
            for prompt, completion in zip(strings[: count // 2], reversed(strings))
        ],
        "decode": [
            [ids, outcome(lambda: tokenizer.decode(ids, skip_special_tokens=True)), outcome(lambda: tokenizer.decode(ids))]
            for ids in lists
        ],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", action="append", default=[])
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    transformers.logging.set_verbosity_error()
    names = [os.path.join(options.out, name) for name in tokenizer_kinds.write(options.out)] + options.directory
    files = {}
    for number, name in enumerate(names):
        path = os.path.join(options.out, f"cases-{number}.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(cases(name, options.texts, random.Random(options.seed)), out, ensure_ascii=True)
        files[os.path.abspath(name)] = path
    versions = {"transformers": transformers.__version__, "tokenizers": rust.__version__}
    with open(os.path.join(options.out, "index.json"), "w", encoding="utf-8") as out:
        json.dump({"versions": versions, "files": files}, out)


if __name__ == "__main__":
    main()
