"""Small tokenizers of every kind, trained on this repository's own documentation, as model directories."""

import base64
import glob
import io
import json
import os
import tempfile

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

#: Entries of a vocabulary, at most; None: as each kind says.
SCALE = None
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXTRA = "Ünïcödé 漢字 かな カナ 한국어 ไทย שלום مرحبا Ωmega жук 🐦 👩‍👩‍👧‍👦 １２３ ½ ² ﬁ ſ K"


def corpus():
    """Documentation, and a line of other scripts."""
    lines = [EXTRA]
    for path in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")))[:6]:
        with open(path, encoding="utf-8") as file:
            lines += file.read().split("\n")
    return lines


def bpe(pre, normalizer=None, decoder=None, alphabet=True, size=1200, specials=("<|endoftext|>",), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoder or decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SCALE or size,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [],
        show_progress=False,
        **({"end_of_word_suffix": model["end_of_word_suffix"]} if "end_of_word_suffix" in model else {}),
        **(
            {"continuing_subword_prefix": model["continuing_subword_prefix"]}
            if "continuing_subword_prefix" in model
            else {}
        ),
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def sequence(*parts):
    return pre_tokenizers.Sequence(list(parts))


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def raw_bytes():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def begin_with(tokenizer, token, end=None):
    ids = [(t, tokenizer.token_to_id(t)) for t in (token, end) if t]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A" + (f" {end}" if end else ""), special_tokens=ids
    )
    return tokenizer


#: A map of characters of our own, as code points: fullwidth letters, a ligature, é from two, a wide space.
RULES = ["FF21\t41", "FF22\t42", "FB01\t66 69", "65 301\tE9", "3000\t20", "A0\t20", "BD\t31 2F 32"]


def sentence_piece(model_type, byte_fallback):
    """A SentencePiece model: pieces, and the map of characters of its normalizer."""
    import sentencepiece

    out = io.BytesIO()
    rules = {"normalization_rule_name": "nmt_nfkc"}
    if SCALE:
        path = os.path.join(tempfile.mkdtemp(), "rules.tsv")
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(f"{rule}\n" for rule in RULES))
        rules = {"normalization_rule_tsv": path}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in corpus() if line]),
        model_writer=out,
        vocab_size=SCALE or 900,
        model_type=model_type,
        byte_fallback=byte_fallback,
        **rules,
        character_coverage=0.999,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    return pieces, charsmap(out.getvalue())


def fields(data):
    """The fields of a protobuf message, as numbers or bytes."""
    position = 0

    def varint():
        nonlocal position
        value, shift = 0, 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 2:
            length = varint()
            yield key >> 3, data[position : position + length]
            position += length
        else:
            position += {1: 8, 5: 4}[kind]


def charsmap(model):
    normalizer = next(value for number, value in fields(model) if number == 3)
    return next(value for number, value in fields(normalizer) if number == 2)


def unigram(byte_fallback=False):
    pieces, characters = sentence_piece("unigram", byte_fallback)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=byte_fallback))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(characters), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    metaspace = decoders.Metaspace()
    tokenizer.decoder = (
        decoders.Sequence([decoders.ByteFallback(), metaspace]) if byte_fallback else metaspace
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return begin_with(tokenizer, "<s>", "</s>")


def llama(legacy=True, special_pieces=("<unk>", "<s>", "</s>")):
    """BPE with byte fallback, as a Llama 2 directory has it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    size = (SCALE or 444) - (256 if SCALE else 0)
    lines = [line for line in corpus() if line]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special_pieces), show_progress=False)
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(lines[1:], trainer)
    model = json.loads(trained.to_str())["model"]
    head = list(special_pieces) + [f"<0x{b:02X}>" for b in range(256)]
    rest = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1]) if t not in special_pieces]
    vocab = {token: i for i, token in enumerate(head + rest)}
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    tokenizer.model = models.BPE(
        vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    strip = decoders.Strip(content=" ", left=1)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    if not legacy:
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.add_special_tokens(list(special_pieces))
    return begin_with(tokenizer, "<s>")


def word_piece(lowercase=True):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=SCALE or 900, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return begin_with(tokenizer, "[CLS]", "[SEP]")


def word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=SCALE or 800, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def added(tokenizer):
    """Added tokens of every manner, on top of a tokenizer."""
    flags = ["single_word", "lstrip", "rstrip", "normalized", "special"]
    names = {"single_word": "alone", "lstrip": "<L>", "rstrip": "<R>", "normalized": "Norm", "special": "<|sp|>"}
    for flag, content in names.items():
        given = {name: name == flag for name in flags}
        tokenizer.add_tokens([AddedToken(content, **given)])
    tokenizer.add_tokens([AddedToken("<LR>", lstrip=True, rstrip=True, special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("Alone", single_word=True, normalized=True, lstrip=True)])
    tokenizer.add_tokens([AddedToken("<|s", normalized=False), AddedToken("né", normalized=True)])
    return tokenizer


def tokenizers():
    """By name: tokenizer.json as it is."""
    level = pre_tokenizers.ByteLevel
    made = {
        "gpt2": bpe(level(add_prefix_space=False)),
        "prefix-space": bpe(level(add_prefix_space=True)),
        "llama3": begin_with(
            bpe(sequence(split(LLAMA3), raw_bytes()), ignore_merges=True), "<|endoftext|>"
        ),
        "cl100k": bpe(sequence(split(CL100K), raw_bytes())),
        "o200k": bpe(sequence(split(O200K), raw_bytes())),
        "smollm": bpe(sequence(pre_tokenizers.Digits(True), level(add_prefix_space=False))),
        "deepseek": bpe(
            sequence(
                split(r"[\r\n]"),
                split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+"),
                split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
                split(r"\s+$"),
                split(r"[一-龥ࠀ-一가-퟿]+"),
                pre_tokenizers.Digits(True),
                raw_bytes(),
            )
        ),
        "nfc": bpe(level(add_prefix_space=False), normalizers.NFC()),
        "lower": bpe(
            level(add_prefix_space=False),
            normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("``", '"')]),
        ),
        "suffix": bpe(
            pre_tokenizers.BertPreTokenizer(),
            normalizers.BertNormalizer(),
            decoders.BPEDecoder("</w>"),
            alphabet=False,
            unk_token="<|endoftext|>",
            end_of_word_suffix="</w>",
        ),
        "prefix": bpe(
            pre_tokenizers.Whitespace(),
            decoder=decoders.WordPiece("##", cleanup=False),
            alphabet=False,
            unk_token="<|endoftext|>",
            fuse_unk=True,
            continuing_subword_prefix="##",
        ),
        "punctuation": bpe(
            sequence(
                pre_tokenizers.Punctuation("merged_with_previous"),
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Digits(False),
                pre_tokenizers.CharDelimiterSplit("-"),
                raw_bytes(),
            )
        ),
        "lengths": bpe(sequence(pre_tokenizers.FixedLength(7), split("e", "contiguous"), raw_bytes())),
        "behaviors": bpe(
            sequence(split("[aeiou]+", "merged_with_next"), split(r"\b", "removed"), raw_bytes()),
            normalizers.Sequence([normalizers.NFD(), normalizers.Nmt(), normalizers.Strip(left=True, right=False)]),
        ),
        "llama-legacy": llama(),
        "llama-first": llama(legacy=False),
        "unigram": unigram(),
        "unigram-bytes": unigram(byte_fallback=True),
        "word-piece": word_piece(),
        "word-piece-cased": word_piece(lowercase=False),
        "word-level": word_level(),
    }
    made["added"] = added(bpe(level(add_prefix_space=False)))
    made["added-lower"] = added(bpe(level(add_prefix_space=False), normalizers.Lowercase()))
    made["added-llama"] = added(llama())
    made["added-llama-first"] = added(llama(legacy=False))
    made["added-word-piece"] = added(word_piece())
    return made


def token(content, **flags):
    base = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {"content": content, **base, **flags}


def directories():
    """By name: a tokenizer, and the JSON files beside its tokenizer.json."""
    made = tokenizers()
    plain = {"tokenizer_class": "PreTrainedTokenizerFast"}
    found = {name: (tokenizer, {"tokenizer_config": plain}) for name, tokenizer in made.items()}
    llama_decoder = {str(i): token(t) for i, t in enumerate(["<unk>", "<s>", "</s>"])}
    end = {"eos_token": "<|endoftext|>"}
    size = made["gpt2"].get_vocab_size()

    def config(name, tokenizer, model_type=None, others=None, **keys):
        files = {"tokenizer_config": keys, **(others or {})}
        if model_type:
            files["config"] = {"model_type": model_type}
        found[name] = (made[tokenizer], files)

    slow = {"tokenizer_class": "LlamaTokenizer"}
    config("class-llama", "llama-legacy", **slow)
    config("class-llama-legacy", "llama-legacy", legacy=True, **slow)
    config("class-llama-decoder", "llama-legacy", added_tokens_decoder=llama_decoder, legacy=True, **slow)
    config("class-llama-no-prefix", "llama-legacy", add_prefix_space=False, **slow)
    config(
        "class-llama-more",
        "llama-legacy",
        legacy=False,
        add_bos_token=False,
        add_eos_token=True,
        added_tokens_decoder={**llama_decoder, "900": token("<pad>"), "901": token("▁word", special=False)},
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", token("<x>", __type="AddedToken", lstrip=True)],
        **slow,
    )
    config("class-llama-byte-level", "llama3", **slow)
    config("class-llama-added", "added-llama", legacy=True, **slow)
    config("type-gpt2", "gpt2", "gpt2")
    config("type-gpt2-prefix", "gpt2", "gpt2", add_prefix_space=True)
    config("type-neox", "llama3", "gpt_neox", tokenizer_class="GPTNeoXTokenizer", add_bos_token=True)
    config("type-qwen2", "gpt2", "qwen2")
    config(
        "type-qwen3",
        "gpt2",
        "qwen3",
        tokenizer_class="Qwen2Tokenizer",
        added_tokens_decoder={
            str(size): token("<|im_start|>"),
            str(size + 1): token("<|im_end|>"),
            str(size + 2): token("<tool_call>", special=False),
            str(size + 5): token("<think>", special=False, normalized=True),
        },
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "<|extra|>"],
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=True,
    )
    config("type-qwen2-fast", "cl100k", "qwen2", tokenizer_class="PreTrainedTokenizerFast")
    config("type-qwen3-fast", "cl100k", "qwen3", tokenizer_class="PreTrainedTokenizerFast")
    config("type-llama", "llama-legacy", "llama", others={}, **end)
    config(
        "only-config",
        "gpt2",
        eos_token="<eos>",
        bos_token=token("<bos>", __type="AddedToken", rstrip=True),
        image_token="<image>",
        extra_special_tokens={"audio_token": "<audio>"},
        **plain,
    )
    config("extra-list", "gpt2", extra_special_tokens=["<e1>", token("<e2>", __type="AddedToken", lstrip=True)], **plain)
    config(
        "changed-flags",
        "added",
        added_tokens_decoder={
            str(made["added"].token_to_id("<L>")): token("<L>", lstrip=False, special=True),
            str(made["added"].token_to_id("alone")): token("alone", single_word=False, special=False, normalized=True),
        },
        **plain,
    )
    config("split-specials", "added", split_special_tokens=True, **plain)
    config(
        "old-files",
        "gpt2",
        others={
            "special_tokens_map": {
                "eos_token": {**token("<end>", rstrip=True), "special": True},
                "pad_token": "<pad>",
                "additional_special_tokens": ["<a>", "<b>"],
            },
            "added_tokens": {"<pad>": size, "<c>": size + 1, "<a>": size + 2},
        },
        **plain,
    )
    bert = {"tokenizer_class": "BertTokenizerFast"}
    config("class-bert", "word-piece", **bert)
    config("class-bert-cased", "word-piece-cased", do_lower_case=False, tokenize_chinese_chars=False, **bert)
    config("class-bert-accents", "word-piece", strip_accents=False, additional_special_tokens=["<x>"], **bert)
    config("class-gemma", "llama-legacy", tokenizer_class="GemmaTokenizer", bos_token="<s>", eos_token="</s>")
    config("bos-wanted", "gpt2", add_bos_token=True, bos_token="<|endoftext|>", **plain)
    config("bos-unwanted", "llama3", add_bos_token=False, bos_token="<|endoftext|>", **plain)
    config("clean-up", "word-piece", clean_up_tokenization_spaces=True, **plain)
    config("clean-up-unigram", "unigram", clean_up_tokenization_spaces=True, eos_token="</s>", **plain)
    config(
        "clean-up-bpe",
        "gpt2",
        clean_up_tokenization_spaces=True,
        clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output=True,
        **plain,
    )
    return found


def write(folder):
    """Writes every directory. Returns their names."""
    names = []
    for name, (tokenizer, files) in directories().items():
        path = os.path.join(folder, name)
        os.makedirs(path, exist_ok=True)
        tokenizer.save(os.path.join(path, "tokenizer.json"))
        for file, content in files.items():
            with open(os.path.join(path, f"{file}.json"), "w", encoding="utf-8") as out:
                json.dump(content, out, ensure_ascii=False, indent=1)
        names.append(name)
    return names
