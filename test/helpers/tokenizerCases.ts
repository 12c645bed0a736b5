/**
 * What Python made of texts and ids (test/peers/tokenizers_run.py), and whether this package makes the same.
 */
import { encodePair } from '../../src/model/tokenizer/pair.js';
import { createTokenizer, type Tokenizer } from '../../src/model/tokenizer/tokenizer.js';

/** An answer of Python's, or the words of its error. */
type Answer<T> = T | { readonly error: string };

/** Of one directory. */
export interface TokenizerCases {
  readonly vocab_size: number;
  readonly eos_token: string | null;
  readonly eos_token_id: number | null;
  /** Text, its ids, and those without special tokens. */
  readonly encode: readonly (readonly [string, Answer<number[]>, Answer<number[]>])[];
  /** Prompt, completion, and the row's tokens with the index of the completion's first. */
  readonly pairs: readonly (readonly [string, string, Answer<readonly [number[], number]>])[];
  /** Ids, their text without special tokens, and with them. */
  readonly decode: readonly (readonly [number[], Answer<string>, Answer<string>])[];
}

type Json = Record<string, any>;

/** The tokenizer of a directory, from its files by name. */
export function tokenizerOfFiles(path: string, files: Readonly<Record<string, Json | undefined>>): Tokenizer {
  return createTokenizer(path, files['tokenizer.json']!, files['tokenizer_config.json'] ?? {}, undefined, {
    specialTokensMap: files['special_tokens_map.json'],
    addedTokensJson: files['added_tokens.json'],
    modelType: files['config.json']?.['model_type'],
    tokenizerClass: files['config.json']?.['tokenizer_class'],
  });
}

export interface Comparison {
  equal: number;
  /** Refused here, and answered by Python. */
  refused: number;
  readonly different: string[];
}

export function compareWithPython(tokenizer: Tokenizer, cases: TokenizerCases): Comparison {
  const result: Comparison = { equal: 0, refused: 0, different: [] };
  const judge = (input: unknown, expected: Answer<unknown>, compute: () => unknown): void => {
    const answer = answerOf(compute);
    const isEqual = JSON.stringify(answer) === JSON.stringify(expected);
    const bothFail = isError(answer) && isError(expected);
    if (isEqual || bothFail) result.equal += 1;
    else if (isError(answer)) result.refused += 1;
    else result.different.push(JSON.stringify({ input, expected, answer }).slice(0, 400));
  };
  for (const [text, ids, plain] of cases.encode) {
    judge(text, ids, () => tokenizer.encode(text));
    judge(text, plain, () => tokenizer.encode(text, { addSpecialTokens: false }));
  }
  for (const [prompt, completion, row] of cases.pairs) {
    judge([prompt, completion], row, () => {
      const { eosToken } = tokenizer;
      const isClosed = eosToken === undefined || completion.endsWith(eosToken);
      const closed = isClosed ? completion : completion + eosToken;
      const { inputIds, completionFrom } = encodePair('test', () => tokenizer, prompt, closed);
      return [inputIds, completionFrom];
    });
  }
  for (const [ids, text, whole] of cases.decode) {
    judge(ids, text, () => tokenizer.decode(ids));
    judge(ids, whole, () => tokenizer.decode(ids, { skipSpecialTokens: false }));
  }
  judge('vocab_size', cases.vocab_size, () => tokenizer.vocabSize);
  judge('eos_token', cases.eos_token, () => tokenizer.eosToken ?? null);
  judge('eos_token_id', cases.eos_token_id, () => tokenizer.eosTokenId ?? null);
  return result;
}

const isError = (answer: unknown): boolean =>
  typeof answer === 'object' && answer !== null && 'error' in answer;

function answerOf(compute: () => unknown): unknown {
  try {
    return compute();
  } catch (error) {
    return { error: (error as Error).message };
  }
}
