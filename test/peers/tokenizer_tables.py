"""Where the Unicode tables inside Python's tokenizers differ from Node.js's: src/model/tokenizer/pipeline/unicodeTables.ts.

python test/peers/tokenizer_tables.py

prints the lists of that file, by name. Node.js (on the PATH) must have the newer tables.
"""

import json
import subprocess

from tokenizers import Regex, normalizers, pre_tokenizers

POINTS = [point for point in range(1, 0x110000) if not 0xD800 <= point < 0xE000]
TEXT = "".join(map(chr, POINTS))
#: A mark of combining class 1, and one of 240: others are ordered behind the first and before the second.
OVERLAY, IOTA = "\u0334", "\u0345"

NODE = r"""
const points = [];
for (let c = 1; c < 0x110000; ++c) if (c < 0xd800 || c >= 0xe000) points.push(c);
const matching = (pattern) => points.filter((c) => pattern.test(String.fromCodePoint(c)));
const nfd = (text) => text.normalize('NFD');
const isMoved = (c) => nfd(`a${c}\u0334`) === `a\u0334${c}` || nfd(`a\u0345${c}`) === `a${c}\u0345`;
const moved = (c) => isMoved(String.fromCodePoint(c));
const forms = (form) => Object.fromEntries(points.flatMap((c) => {
  const made = String.fromCodePoint(c).normalize(form);
  return made === String.fromCodePoint(c) ? [] : [[c, made]];
}));
console.log(JSON.stringify({
  unassigned: matching(/\p{Cn}/u), punctuation: matching(/[\p{P}$+<=>^`|~]/u), nonspacing: matching(/\p{Mn}/u),
  mark: matching(/\p{M}/u), control: matching(/[\p{Cc}\p{Cf}\p{Co}\ufffd]/u), moved: points.filter(moved),
  NFD: forms('NFD'), NFKD: forms('NFKD'),
}));
"""


def ranges(points):
    """Code points as ranges in hexadecimal."""
    made = []
    for point in sorted(set(points)):
        if made and made[-1][1] == point - 1:
            made[-1][1] = point
        else:
            made.append([point, point])
    return " ".join(f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in made)


def removed(normalizer):
    """The characters that a normalizer takes away."""
    return {point for point in POINTS if normalizer.normalize_str(chr(point)) == ""}


def splits(pre_tokenizer):
    """The characters that stand alone between letters."""
    return {point for point in POINTS if len(pre_tokenizer.pre_tokenize_str(f"a{chr(point)}a")) == 3}


def bert(**flags):
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return normalizers.BertNormalizer(**{**off, **flags})


def main():
    node = json.loads(subprocess.run(["node", "-e", NODE], capture_output=True, check=True, text=True).stdout)
    unassigned = set(POINTS) - set(map(ord, normalizers.Replace(Regex(r"\p{Cn}"), "").normalize_str(TEXT)))
    print("AFTER_UNICODE_16", ranges(unassigned - set(node["unassigned"])))
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    alone, incompatible = [], []
    moved = set(node["moved"])
    for point in POINTS:
        character = chr(point)
        moves = (
            nfd.normalize_str(f"a{character}{OVERLAY}") == f"a{OVERLAY}{character}"
            or nfd.normalize_str(f"a{IOTA}{character}") == f"a{character}{IOTA}"
        )
        form = node["NFD"].get(str(point), character)
        if moves != (point in moved):
            alone.append(point)
        elif nfd.normalize_str(character) != form:
            # What it begins with does not combine to it either.
            alone += [point, ord(form[0])]
        if nfkd.normalize_str(character) != node["NFKD"].get(str(point), character):
            incompatible.append(point)
    print("NEVER_COMPOSED", ranges(alone))
    print("NEVER_COMPATIBLE", ranges(set(incompatible) - set(alone)))
    layout = {9, 10, 13}
    for name, theirs, ours in (
        ("PUNCTUATION", splits(pre_tokenizers.BertPreTokenizer()), set(node["punctuation"])),
        ("NONSPACING", removed(bert(strip_accents=True)), set(node["nonspacing"])),
        ("MARK", removed(normalizers.StripAccents()), set(node["mark"])),
        ("CONTROL", removed(bert(clean_text=True)) | layout, set(node["control"])),
    ):
        print(f"NO_{name}", ranges(ours - theirs))
        print(f"OLD_{name}", ranges(theirs - ours))


if __name__ == "__main__":
    main()
