/** A byte-level tokenizer without merges: one token per byte, made by hand in tokenizer.json's format. */
const SPECIALS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];

/** GPT-2's printable stand-in of each byte. */
function alphabet(): string[] {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let extra = 0;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : 256 + extra++));
}

/** Ids 0 … 2 are the special tokens, 3 + b is byte b. */
export const byteTokenizerJson = (): object => ({
  version: '1.0',
  truncation: null,
  padding: null,
  normalizer: null,
  added_tokens: SPECIALS.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
  post_processor: null,
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries([...SPECIALS, ...alphabet()].map((token, id) => [token, id])),
    merges: [],
  },
});
export const BYTE_VOCABULARY = SPECIALS.length + 256;

/** A chat template in the manner of ChatML. */
export const CHAT_TEMPLATE = [
  '{%- for message in messages -%}' +
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}" +
    '{%- endfor -%}',
  "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}" +
    "{%- if thinking is defined and not thinking -%}{{ '<think></think>' }}{%- endif -%}{%- endif -%}",
].join('\n');
