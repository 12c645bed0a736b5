/** Ragged token lists, checked and packed for native code. */
import { check, checkOptions, list, required, rule, type Rules, shown } from '../core/check.js';
import { fail } from '../errors.js';
import type { PackedSamples, PackedSequences } from '../core/addon/contract.js';
import type { Model } from './model.js';
import { isChat } from './chat/chat.js';
import { encodePrompt, type Prompt } from './tokenizer/tokenizer.js';

/**
 * A sequence and the part of it that counts: f = Σ_{t ≥ scoreFrom} log π(inputIds[t] | inputIds[<t]); 1 ≤
 * scoreFrom < inputIds.length. Usually prompt and response, scored from the response's first token.
 */
export interface Sample {
  readonly inputIds: readonly number[];
  /** Index of the first token that counts. */
  readonly scoreFrom: number;
}

type Limits = Pick<Model, 'spec'>;

/**
 * @throws ERR_INVALID_ARG naming the sequence and position: empty, longer than the context, or an id outside
 * the vocabulary.
 */
export function packSequences(
  caller: string,
  { spec }: Limits,
  sequences: readonly (readonly number[])[],
  name = 'inputIds',
): PackedSequences {
  check(caller, name, sequences, list);
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, s) => {
    if (!Array.isArray(sequence) && !ArrayBuffer.isView(sequence))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: ${name}[${s}] must be an array of token ids, got ${shown(sequence)}`,
      );
    if (sequence.length === 0)
      fail('ERR_INVALID_ARG', `${caller}: ${name}[${s}] is empty; a sequence needs at least one token`);
    if (sequence.length > spec.maxPositions)
      fail(
        'ERR_INVALID_ARG',
        `${caller}: ${name}[${s}] has ${sequence.length} tokens, but the model's context is ${spec.maxPositions}; shorten it`,
      );
    offsets[s + 1] = offsets[s]! + sequence.length;
  });
  const ids = new Int32Array(offsets[sequences.length]!);
  sequences.forEach((sequence, s) => {
    for (let t = 0; t < sequence.length; ++t) {
      const id = sequence[t]!;
      if (!(Number.isInteger(id) && id >= 0 && id < spec.vocabSize))
        fail(
          'ERR_INVALID_ARG',
          `${caller}: ${name}[${s}][${t}] must be a token id in 0 … ${spec.vocabSize - 1}, got ${shown(id)}`,
        );
      ids[offsets[s]! + t] = id;
    }
  });
  return { ids, offsets };
}

/** The sequences of a batch as forward() and its like take it. */
export interface Batch {
  readonly inputIds: readonly (readonly number[])[];
}
const BATCH: Rules = { inputIds: required(list) };
export const checkBatch = (caller: string, batch: Batch): void =>
  checkOptions(caller, batch, BATCH, { argument: 'batch', noun: 'field' });
export function packBatch(caller: string, limits: Limits, batch: Batch): PackedSequences {
  checkBatch(caller, batch);
  return packSequences(caller, limits, batch.inputIds);
}

/** @throws ERR_INVALID_ARG unless it is an array of { inputIds, scoreFrom }. */
export function checkSamples(
  caller: string,
  samples: unknown,
  name = 'samples',
): asserts samples is readonly Sample[] {
  check(caller, name, samples, SAMPLES);
  (samples as readonly (Sample | null)[]).forEach((sample, s) => {
    if (typeof sample !== 'object' || sample === null || !('inputIds' in sample))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: ${name}[${s}] must be { inputIds, scoreFrom }, got ${shown(sample)}`,
      );
  });
}
const SAMPLES = rule('an array of samples { inputIds, scoreFrom }', Array.isArray);

/** @throws ERR_INVALID_ARG as packSequences, and when scoreFrom is out of range. */
export function packSamples(caller: string, limits: Limits, samples: readonly Sample[]): PackedSamples {
  checkSamples(caller, samples);
  const packed = packSequences(
    caller,
    limits,
    samples.map((sample) => sample.inputIds),
  );
  const rowOffsets = new Int32Array(samples.length + 1);
  samples.forEach(({ inputIds, scoreFrom }, s) => {
    // A one-token sequence has nothing to score; logprobs() of it is empty rather than an error.
    if (
      !(
        Number.isInteger(scoreFrom) &&
        scoreFrom >= 1 &&
        (scoreFrom < inputIds.length || inputIds.length === 1)
      )
    )
      fail(
        'ERR_INVALID_ARG',
        `${caller}: samples[${s}].scoreFrom must satisfy 1 ≤ scoreFrom < ${inputIds.length} (its length), got ${shown(scoreFrom)}`,
      );
    rowOffsets[s + 1] = rowOffsets[s]! + Math.max(inputIds.length - scoreFrom, 0);
  });
  const rows = new Int32Array(rowOffsets[samples.length]!);
  const targets = new Int32Array(rows.length);
  samples.forEach(({ scoreFrom, inputIds }, s) => {
    for (let t = scoreFrom, row = rowOffsets[s]!; t < inputIds.length; ++t, ++row) {
      rows[row] = packed.offsets[s]! + t - 1;
      targets[row] = packed.ids[packed.offsets[s]! + t]!;
    }
  });
  return { ...packed, rows, targets, rowOffsets };
}

const PROMPTS = rule('an array of prompts (text, token ids or messages)', Array.isArray);
export const isPrompt = (prompt: unknown): prompt is Prompt =>
  typeof prompt === 'string' ||
  isChat(prompt) ||
  (Array.isArray(prompt) && prompt.every((id) => typeof id === 'number'));

export function packPrompts(caller: string, model: Model, prompts: readonly Prompt[]): PackedSequences {
  check(caller, 'prompts', prompts, PROMPTS);
  return packSequences(
    caller,
    model,
    prompts.map((prompt, i) => {
      if (!isPrompt(prompt))
        fail(
          'ERR_INVALID_ARG',
          `${caller}: prompts[${i}] must be text, token ids or messages { role, content }, got ${shown(prompt)}`,
        );
      return encodePrompt(() => model.tokenizer, prompt);
    }),
    'prompts',
  );
}

/** `row[p]` of the packed tokens is the last token of prefix p. */
export interface PackedPrefixes {
  readonly packed: PackedSequences;
  readonly row: readonly number[];
}

/**
 * Packs prefixes so that one which another continues is not repeated: by causality its row is inside the
 * longer one. @throws as packSequences.
 */
export function packPrefixes(
  caller: string,
  limits: Limits,
  prefixes: readonly (readonly number[])[],
  name: string,
): PackedPrefixes {
  packSequences(caller, limits, prefixes, name);
  const compare = (a: readonly number[], b: readonly number[]): number => {
    for (let t = 0; t < a.length && t < b.length; ++t) if (a[t] !== b[t]) return a[t]! - b[t]!;
    return a.length - b.length;
  };
  // In this order a prefix comes right after what continues it, if anything does.
  const order = [...prefixes.keys()].sort((i, j) => compare(prefixes[j]!, prefixes[i]!));
  const kept: (readonly number[])[] = [];
  const holder: number[] = [];
  for (const p of order) {
    const [prefix, longer] = [prefixes[p]!, kept.at(-1)];
    if (!longer || longer.length < prefix.length || prefix.some((id, t) => id !== longer[t]))
      kept.push(prefix);
    holder[p] = kept.length - 1;
  }
  const packed = packSequences(caller, limits, kept, name);
  return { packed, row: prefixes.map((prefix, p) => packed.offsets[holder[p]!]! + prefix.length - 1) };
}
