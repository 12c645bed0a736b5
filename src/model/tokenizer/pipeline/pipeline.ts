/**
 * What tokenizer.json describes, computed as Python's tokenizers 0.23 does: added tokens, normalizer,
 * pre-tokenizer, model, post-processor, and the decoder for the way back.
 */
import { type AddedToken, AddedTokens } from './addedTokens.js';
import { createDecoder } from './decoders.js';
import { createModel } from './models.js';
import { createNormalizer } from './normalizers.js';
import { createPostProcessor } from './postProcessors.js';
import { createPreTokenizer } from './preTokenizers.js';
import type { Component } from './read.js';

/** The parts of tokenizer.json, and the tokens added to it. */
export interface PipelineSpec {
  readonly normalizer: unknown;
  readonly preTokenizer: unknown;
  readonly model: Component;
  readonly postProcessor: unknown;
  readonly decoder: unknown;
  /** One call of add_tokens after the other. */
  readonly addedTokens: readonly (readonly AddedToken[])[];
  /** Special tokens in a text are text. */
  readonly splitSpecialTokens: boolean;
}

export interface Pipeline {
  encode(text: string, addSpecialTokens: boolean): number[];
  /** Ids that there are not are left out. */
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
  id(token: string): number | undefined;
  /** Tokens that there are. */
  readonly size: number;
  /** Ids of all tokens. */
  ids(): Set<number>;
  /** As the decoder sees it. */
  token(id: number): string | undefined;
}

/** Pieces whose tokens are remembered, at most, and their greatest length. */
const REMEMBERED = 65_536;
const LONGEST_REMEMBERED = 256;

/** @throws UnsupportedComponent. */
export function createPipeline(spec: PipelineSpec): Pipeline {
  const model = createModel(spec.model);
  const normalizer = createNormalizer(spec.normalizer);
  const preTokenizer = createPreTokenizer(spec.preTokenizer);
  const postProcess = createPostProcessor(spec.postProcessor);
  const decoder = createDecoder(spec.decoder);
  const added = new AddedTokens(model, normalizer, spec.splitSpecialTokens);
  for (const tokens of spec.addedTokens) added.add(tokens);
  const { finish } = preTokenizer;
  const remembered = new Map<string, readonly number[]>();

  function idsOf(piece: string): readonly number[] {
    const known = remembered.get(piece);
    if (known) return known;
    const ids = model.tokenize(finish ? finish(piece) : piece);
    if (piece.length <= LONGEST_REMEMBERED) {
      if (remembered.size >= REMEMBERED) remembered.clear();
      remembered.set(piece, ids);
    }
    return ids;
  }

  function encodeText(text: string): number[] {
    const ids: number[] = [];
    for (const part of added.parts(text)) {
      if ('id' in part) {
        ids.push(part.id);
        continue;
      }
      for (const piece of preTokenizer.split(part.text, part.begins).texts) {
        if (piece === '') continue;
        for (const id of idsOf(piece)) ids.push(id);
      }
    }
    return ids;
  }

  /** Tokens as the decoder sees them, by id; undefined: left out. */
  const plain = new Map<number, string | undefined>();
  const token = (id: number): string | undefined => added.token(id) ?? model.token(id);
  function tokenToDecode(id: number, skipSpecialTokens: boolean): string | undefined {
    if (!skipSpecialTokens) return token(id);
    if (plain.has(id)) return plain.get(id);
    const text = token(id);
    const shown = text === undefined || added.isSpecial(text) ? undefined : text;
    if (text !== undefined) plain.set(id, shown);
    return shown;
  }

  return {
    encode(text, addSpecialTokens) {
      const ids = encodeText(text);
      return addSpecialTokens ? [...postProcess(ids)] : ids;
    },
    decode(ids, skipSpecialTokens) {
      const tokens: string[] = [];
      for (const id of ids) {
        const text = tokenToDecode(id, skipSpecialTokens);
        if (text !== undefined) tokens.push(text);
      }
      return tokens.length === 0 ? '' : decoder(tokens).join('');
    },
    id: (text) => added.id(text),
    token,
    size: model.vocabulary.size + [...added.contents].filter((each) => !model.vocabulary.has(each)).length,
    ids() {
      const ids = new Set(model.vocabulary.values());
      for (const content of added.contents) ids.add(added.id(content)!);
      return ids;
    },
  };
}
