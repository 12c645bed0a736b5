/**
 * A directory's tokenizer as transformers 5.24 makes it of tokenizer.json and the files beside it: which
 * class reads it, which tokens are added, which of them are special.
 */
import type { AddedToken } from './addedTokens.js';
import { createPipeline, type Pipeline } from './pipeline.js';
import { type Component, isComponent, listOf } from './read.js';
import { rebuiltClass, type SpecialTokens } from './rebuilt.js';

/** Parsed files of a model directory; those that it lacks are undefined. */
export interface TokenizerFiles {
  readonly tokenizerJson: Component;
  readonly tokenizerConfig?: Component | undefined;
  /** special_tokens_map.json and added_tokens.json, which older directories have. */
  readonly specialTokensMap?: Component | undefined;
  readonly addedTokensJson?: Component | undefined;
  /** model_type and tokenizer_class of config.json. */
  readonly modelType?: string | undefined;
  readonly tokenizerClass?: unknown;
}

export interface DirectoryTokenizer {
  readonly pipeline: Pipeline;
  /** Special tokens by their key, e.g. eos_token. */
  readonly specials: SpecialTokens;
  /** Spaces before punctuation are taken out of decoded text. */
  readonly cleansUp: boolean;
}

const NAMED = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

type Token = string | AddedToken;

const contentOf = (token: Token): string => (typeof token === 'string' ? token : token.content);

/** An object of tokenizer_config.json or tokenizer.json. */
function addedToken(from: Component, special = from['special'] === true): AddedToken {
  const flag = (key: string, otherwise = false) => (from[key] ?? otherwise) === true;
  return {
    content: String(from['content']),
    single_word: flag('single_word'),
    lstrip: flag('lstrip'),
    rstrip: flag('rstrip'),
    normalized: flag('normalized', !special),
    special,
  };
}

const plainToken = (content: string, special: boolean): AddedToken => addedToken({ content }, special);

function tokenOf(value: unknown, special?: boolean): Token | undefined {
  if (typeof value === 'string') return value;
  const isToken = isComponent(value) && typeof value['content'] === 'string';
  return isToken ? addedToken(value, special) : undefined;
}

/** What the files say of special tokens. */
interface Declared {
  /** By key; a key with undefined was given as null. */
  readonly named: Map<string, Token | undefined>;
  readonly extra: Token[];
  /** By id, in the order of ids. */
  readonly added: readonly (readonly [number, AddedToken])[];
}

function readDeclared(files: TokenizerFiles): Declared {
  const { tokenizerConfig: config = {}, specialTokensMap, addedTokensJson, tokenizerJson } = files;
  const named = new Map<string, Token | undefined>();
  for (const [key, value] of Object.entries(config)) {
    if (key.endsWith('_token')) named.set(key, tokenOf(value));
  }
  const given = config['extra_special_tokens'] ?? config['additional_special_tokens'];
  let extra = given === undefined ? undefined : readExtra(given, named);
  let older: Token[] | undefined;
  const added = new Map<number, AddedToken>();
  const declared = config['added_tokens_decoder'];
  if (isComponent(declared)) {
    for (const [id, token] of Object.entries(declared)) added.set(Number(id), addedToken(token as Component));
  } else {
    for (const [key, value] of Object.entries(specialTokensMap ?? {})) {
      if (key === 'additional_special_tokens') older = readExtra(value, named);
      else if (key === 'extra_special_tokens') extra = [...(extra ?? []), ...readExtra(value, named)];
      else named.set(key, tokenOf(value, true));
    }
    for (const [content, id] of Object.entries(addedTokensJson ?? {})) {
      const special = [...NAMED.map((key) => named.get(key)), ...(extra ?? [])];
      const isSpecial = special.some((token) => token !== undefined && contentOf(token) === content);
      added.set(id as number, plainToken(content, isSpecial));
    }
    for (const token of tokensOfFile(tokenizerJson)) added.set(token['id'] as number, addedToken(token));
  }
  return { named, extra: extra ?? older ?? [], added: [...added].sort(([a], [b]) => a - b) };
}

const tokensOfFile = (file: Component): readonly Component[] =>
  file['added_tokens'] === undefined ? [] : (listOf(file, 'added_tokens', 'tokenizer.json') as Component[]);

/** A list of tokens; of an object, its values become named tokens. */
function readExtra(value: unknown, named: Map<string, Token | undefined>): Token[] {
  if (isComponent(value)) {
    for (const [key, token] of Object.entries(value)) named.set(key, tokenOf(token));
    return [];
  }
  if (!Array.isArray(value)) return [];
  return value.map((token) => tokenOf(token)).filter((token) => token !== undefined);
}

/** @throws UnsupportedComponent. */
export function openTokenizer(files: TokenizerFiles): DirectoryTokenizer {
  const { tokenizerJson: file, tokenizerConfig: config = {}, modelType } = files;
  const rebuilt = rebuiltClass(file, config['tokenizer_class'] ?? files.tokenizerClass, modelType);
  const { named, extra, added } = readDeclared(files);
  for (const [key, token] of Object.entries(rebuilt?.specials ?? {})) {
    if (!named.has(key)) named.set(key, token);
  }
  const specials = specialsOf(named, added);
  const kept = rebuilt ? [] : tokensOfFile(file).map((token) => addedToken(token));
  const again = [...specials.values(), ...extra].map((token) => plainToken(contentOf(token), true));
  const texts = Object.fromEntries([...specials].map(([key, token]) => [key, contentOf(token)]));
  const parts = rebuilt?.parts(file, config, texts) ?? {
    normalizer: file['normalizer'],
    preTokenizer: file['pre_tokenizer'],
    model: file['model'] as Component,
    postProcessor: file['post_processor'],
    decoder: file['decoder'],
  };
  const pipeline = createPipeline({
    ...parts,
    addedTokens: [kept, tokensToAdd(kept, specials, extra, added), rebuilt?.addsSpecialsAgain ? again : []],
    splitSpecialTokens: config['split_special_tokens'] === true,
  });
  const cleans = config['clean_up_tokenization_spaces'] === true;
  const forced = config['clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output'] === true;
  return {
    pipeline,
    specials: texts,
    cleansUp: cleans && (forced || parts.model['type'] !== 'BPE'),
  };
}

/** Those that are set, standard keys first. Added tokens of the same text say how they are found. */
function specialsOf(
  named: ReadonlyMap<string, Token | undefined>,
  added: Declared['added'],
): Map<string, Token> {
  const byContent = new Map(added.map(([, token]) => [token.content, token]));
  const keys = [...NAMED, ...[...named.keys()].filter((key) => !NAMED.includes(key))];
  const specials = new Map<string, Token>();
  for (const key of keys) {
    const token = named.get(key);
    if (token === undefined) continue;
    specials.set(key, NAMED.includes(key) ? (byContent.get(contentOf(token)) ?? token) : token);
  }
  return specials;
}

/** What TokenizersBackend adds to the tokens that tokenizer.json brought (`kept`). */
function tokensToAdd(
  kept: readonly AddedToken[],
  specials: ReadonlyMap<string, Token>,
  extra: readonly Token[],
  added: Declared['added'],
): AddedToken[] {
  const tokens: Token[] = added.map(([, token]) => token);
  const known = new Set([...kept, ...tokens].map(contentOf));
  for (const token of [...specials.values(), ...extra]) {
    if (!known.has(contentOf(token))) tokens.push(token);
    known.add(contentOf(token));
  }
  const names = new Set([...specials.values()].map(contentOf));
  return tokens.map((token) => {
    if (typeof token === 'string') return plainToken(token, true);
    return token.special || !names.has(token.content) ? token : { ...token, special: true };
  });
}
