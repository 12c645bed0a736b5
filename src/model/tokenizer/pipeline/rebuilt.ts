/**
 * Tokenizer classes of transformers 5.24 that do not use tokenizer.json as it is: they take its vocabulary
 * and merges and build the rest by their own rules.
 */
import type { PipelineSpec } from './pipeline.js';
import { type Component, component, unsupported } from './read.js';

/** Special tokens that a class has without being told, by their key in tokenizer_config.json. */
export type SpecialTokens = Readonly<Record<string, string>>;

interface RebuiltClass {
  readonly specials: SpecialTokens;
  readonly parts: (
    file: Component,
    config: Component,
    specials: SpecialTokens,
  ) => Pick<PipelineSpec, 'normalizer' | 'preTokenizer' | 'model' | 'postProcessor' | 'decoder'>;
  /** Adds its special tokens a second time, as such. */
  readonly addsSpecialsAgain?: boolean;
}

const END_OF_TEXT = '<|endoftext|>';

/** Vocabulary and merges of the file, with what the class says of the model. */
function bpe(file: Component, rest: Component): Component {
  const { type, vocab, merges } = component(file['model'], 'the model');
  if (type !== 'BPE')
    return unsupported(`the model ${String(type)} under a tokenizer_class that builds a BPE`);
  return { type: 'BPE', vocab, merges, ...rest };
}

const byteLevel = (config: Component): Component => ({
  type: 'ByteLevel',
  add_prefix_space: config['add_prefix_space'] === true,
  use_regex: true,
});

const QWEN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" +
  '|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

const CLASSES: Readonly<Record<string, RebuiltClass>> = {
  LlamaTokenizer: {
    specials: { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' },
    parts(file, config) {
      const prefixes = config['add_prefix_space'] !== false;
      const scheme = config['legacy'] === true ? 'always' : 'first';
      const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
      return {
        normalizer: null,
        preTokenizer: {
          type: 'Metaspace',
          replacement: '▁',
          prepend_scheme: prefixes ? scheme : 'never',
          split: false,
        },
        model: bpe(file, { fuse_unk: true, byte_fallback: true }),
        postProcessor: file['post_processor'],
        decoder: {
          type: 'Sequence',
          decoders: [
            { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
            { type: 'ByteFallback' },
            { type: 'Fuse' },
            ...(prefixes ? [strip] : []),
          ],
        },
      };
    },
  },
  GPT2Tokenizer: {
    specials: { unk_token: END_OF_TEXT, bos_token: END_OF_TEXT, eos_token: END_OF_TEXT },
    parts: (file, config) => ({
      normalizer: null,
      preTokenizer: byteLevel(config),
      model: bpe(file, {}),
      postProcessor: file['post_processor'],
      decoder: { type: 'ByteLevel' },
    }),
  },
  GPTNeoXTokenizer: {
    specials: {
      unk_token: END_OF_TEXT,
      bos_token: END_OF_TEXT,
      eos_token: END_OF_TEXT,
      pad_token: '<|padding|>',
    },
    parts: (file, config) => ({
      normalizer: { type: 'NFC' },
      preTokenizer: byteLevel(config),
      model: bpe(file, {}),
      // The class replaces the file's by one that adds nothing.
      postProcessor: null,
      decoder: { type: 'ByteLevel' },
    }),
  },
  Qwen2Tokenizer: {
    specials: { unk_token: END_OF_TEXT, eos_token: END_OF_TEXT, pad_token: END_OF_TEXT },
    parts: (file, config) => ({
      normalizer: { type: 'NFC' },
      preTokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: QWEN }, behavior: 'Isolated', invert: false },
          { ...byteLevel(config), use_regex: false },
        ],
      },
      model: bpe(file, {}),
      postProcessor: file['post_processor'],
      decoder: { type: 'ByteLevel' },
    }),
    addsSpecialsAgain: true,
  },
  GemmaTokenizer: {
    specials: {
      unk_token: '<unk>',
      bos_token: '<bos>',
      eos_token: '<eos>',
      pad_token: '<pad>',
      mask_token: '<mask>',
    },
    parts: (file, _config, { unk_token }) => ({
      normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      preTokenizer: {
        type: 'Split',
        pattern: { String: ' ' },
        behavior: 'MergedWithPrevious',
        invert: false,
      },
      model: bpe(file, { unk_token, fuse_unk: true, byte_fallback: true }),
      postProcessor: file['post_processor'],
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
        ],
      },
    }),
  },
  BertTokenizer: {
    specials: {
      unk_token: '[UNK]',
      sep_token: '[SEP]',
      pad_token: '[PAD]',
      cls_token: '[CLS]',
      mask_token: '[MASK]',
    },
    parts: (file, config, { unk_token, cls_token, sep_token }) => ({
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: config['tokenize_chinese_chars'] ?? true,
        strip_accents: config['strip_accents'] ?? null,
        lowercase: config['do_lower_case'] ?? true,
      },
      preTokenizer: { type: 'BertPreTokenizer' },
      model: { type: 'WordPiece', vocab: wordPieces(file), unk_token },
      postProcessor: {
        type: 'BertProcessing',
        cls: [cls_token, idIn(file, cls_token)],
        sep: [sep_token, idIn(file, sep_token)],
      },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    }),
  },
};

function wordPieces(file: Component): Component {
  const { type, vocab } = component(file['model'], 'the model');
  if (type !== 'WordPiece')
    return unsupported(`the model ${String(type)} under a tokenizer_class that builds a WordPiece`);
  return component(vocab, 'the vocab of the model WordPiece');
}

function idIn(file: Component, token: string | undefined): unknown {
  const id = wordPieces(file)[String(token)];
  return id ?? unsupported(`the token ${token} around texts, which is not in the vocabulary`);
}

/** Classes that build by rules which this package does not have. */
const OTHERS = new Set(
  (
    'Albert Bart Barthez Bartpho BertGeneration BertJapanese BertTokenizerLegacy Bertweet BigBird BioGpt ' +
    'BlenderbotSmall Blenderbot ByT5 CLIP CTRL Camembert Canine Clvp CodeGen CodeLlama Cohere CpmAnt Cpm ' +
    'DPRContextEncoder DPRQuestionEncoder DPRReader Deberta DebertaV2 Dia DistilBert Esm Esmc FSMT ' +
    'FastSpeech2Conformer Flaubert Funnel GPTNeoXJapanese GPTSw3 Herbert LED Lasr LayoutLMv2 LayoutLMv3 ' +
    'LayoutXLM Luke Lxmert M2M100 MBart50 MBart MLuke MPNet Marian MarkupLM Mgpstr MobileBert Mvp MyT5 Nllb ' +
    'Nougat OpenAIGPT PLBart Pegasus Perceiver Phobert Pop2Piano ProphetNet Qwen3_5 Rag Reformer RemBert RoCBert ' +
    'RoFormer Roberta SeamlessM4T Siglip2 Siglip Speech2Text SpeechT5 Splinter T5 Tapas Tipsv2 Udop VideoPrism ' +
    'Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper XGLM XLMRoberta XLM XLNet'
  )
    .split(' ')
    .map((name) => (name.includes('Tokenizer') ? name : `${name}Tokenizer`)),
);

/** The class of each of our model families where the directory names none. */
const BY_MODEL_TYPE: Readonly<Record<string, string>> = {
  gpt2: 'GPT2Tokenizer',
  gpt_neox: 'GPTNeoXTokenizer',
  qwen2: 'Qwen2Tokenizer',
  qwen3: 'Qwen2Tokenizer',
};

/** Model types whose directories are known to name a wrong class. */
const IGNORES_DECLARED = new Set(['qwen2']);

/**
 * The class that AutoTokenizer takes; undefined: tokenizer.json as it is.
 * @param declared tokenizer_class of tokenizer_config.json, or of config.json.
 * @throws UnsupportedComponent for a class with rules of its own.
 */
export function rebuiltClass(
  file: Component,
  declared: unknown,
  modelType: string | undefined,
): RebuiltClass | undefined {
  const name = classNamed(file, declared, modelType);
  if (name !== undefined && OTHERS.has(name))
    return unsupported(
      `tokenizer_class ${name}, which transformers builds by rules of its own; ` +
        'where tokenizer.json is meant as it is, name TokenizersBackend',
    );
  return name === undefined ? undefined : CLASSES[name];
}

function classNamed(file: Component, declared: unknown, modelType = ''): string | undefined {
  const registered = BY_MODEL_TYPE[modelType];
  if (typeof declared !== 'string') return registered;
  const name = declared.replace(/Fast$/, '');
  if (name === 'LlamaTokenizer' && !IGNORES_DECLARED.has(modelType) && hasByteLevel(file)) return undefined;
  const isOverruled = registered !== undefined && registered !== name && IGNORES_DECLARED.has(modelType);
  return isOverruled ? registered : name;
}

/** transformers looks for the word in the file's text; a token of that name counts too. */
function hasByteLevel(file: Component): boolean {
  const parts = ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder', 'added_tokens'];
  const { vocab } = component(file['model'], 'the model');
  const isToken = typeof vocab === 'object' && vocab !== null && 'ByteLevel' in vocab;
  return isToken || parts.some((key) => JSON.stringify(file[key] ?? null).includes('"ByteLevel"'));
}
