/** Tokens and their ids, as models have them. */
import { type Component, isComponent, unsupported } from './read.js';

export interface TokenModel {
  /** Ids of the tokens of a piece that is not empty. */
  tokenize(piece: string): number[];
  readonly vocabulary: ReadonlyMap<string, number>;
  /** The token of an id. */
  token(id: number): string | undefined;
}

/** vocab: an object from tokens to ids. */
export function vocabularyOf(config: Component, of: string): Map<string, number> {
  const { vocab } = config;
  if (!isComponent(vocab)) return unsupported(`${of}: vocab must be an object from tokens to ids`);
  const vocabulary = new Map<string, number>();
  for (const token of Object.keys(vocab)) vocabulary.set(token, vocab[token] as number);
  return vocabulary;
}

/** From ids to tokens; made when it is first asked for. */
export function tokensOf(vocabulary: ReadonlyMap<string, number>): (id: number) => string | undefined {
  let tokens: Map<number, string> | undefined;
  return (id) => {
    if (!tokens) {
      tokens = new Map();
      for (const [token, own] of vocabulary) tokens.set(own, token);
    }
    return tokens.get(id);
  };
}

/** How vocabularies with byte fallback write a byte. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
