/** Ragged token lists, checked and packed for native code. */
import { check, checkOptions, list, required, rule, type Rules, shown } from '../core/check.js';
import { fail } from '../errors.js';
import type { PackedSamples, PackedSequences } from '../core/addon/contract.js';
import { isChat } from './chat/chat.js';
import { tokenizerOf } from './companions.js';
import type { ModelParts } from './parts.js';
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

/** Vocabulary and context bound what a batch may hold. */
type Limits = Pick<ModelParts, 'spec'>;

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
    const label = `${caller}: ${name}[${s}]`;
    if (!Array.isArray(sequence) && !ArrayBuffer.isView(sequence))
      fail('ERR_INVALID_ARG', `${label} must be an array of token ids, got ${shown(sequence)}`);
    if (sequence.length === 0)
      fail('ERR_INVALID_ARG', `${label} is empty; a sequence needs at least one token`);
    if (sequence.length > spec.maxPositions)
      fail(
        'ERR_INVALID_ARG',
        `${label} has ${sequence.length} tokens, but the model's context is ${spec.maxPositions}; shorten it`,
      );
    offsets[s + 1] = offsets[s]! + sequence.length;
  });
  const ids = new Int32Array(offsets[sequences.length]!);
  sequences.forEach((sequence, s) => {
    for (let t = 0; t < sequence.length; ++t) {
      const id = sequence[t]!;
      const inVocabulary = Number.isInteger(id) && id >= 0 && id < spec.vocabSize;
      if (!inVocabulary)
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

/** @throws ERR_INVALID_ARG unless it is { inputIds: an array }. */
export const checkBatch = (caller: string, batch: Batch): void =>
  checkOptions(caller, batch, BATCH, { argument: 'batch', noun: 'field' });

/** The batch's tokens, one sequence after the other. @throws as packSequences. */
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

/** The samples' tokens and their scored rows. @throws ERR_INVALID_ARG as packSequences, and for scoreFrom. */
export function packSamples(caller: string, limits: Limits, samples: readonly Sample[]): PackedSamples {
  checkSamples(caller, samples);
  const sequences = samples.map((sample) => sample.inputIds);
  const packed = packSequences(caller, limits, sequences);
  const rowOffsets = new Int32Array(samples.length + 1);
  samples.forEach((sample, s) => {
    checkScoreFrom(caller, sample, s);
    rowOffsets[s + 1] = rowOffsets[s]! + Math.max(sample.inputIds.length - sample.scoreFrom, 0);
  });
  const rows = new Int32Array(rowOffsets[samples.length]!);
  const targets = new Int32Array(rows.length);
  samples.forEach(({ scoreFrom, inputIds }, s) => {
    const first = packed.offsets[s]!;
    let row = rowOffsets[s]!;
    for (let t = scoreFrom; t < inputIds.length; ++t) {
      // The row before a token is the one whose logits score it.
      rows[row] = first + t - 1;
      targets[row] = packed.ids[first + t]!;
      ++row;
    }
  });
  return { ...packed, rows, targets, rowOffsets };
}

/** A one-token sequence has nothing to score; logprobs() of it is empty rather than an error. */
function checkScoreFrom(caller: string, { inputIds, scoreFrom }: Sample, s: number): void {
  const { length } = inputIds;
  const valid = Number.isInteger(scoreFrom) && scoreFrom >= 1 && (scoreFrom < length || length === 1);
  if (!valid)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: samples[${s}].scoreFrom must satisfy 1 ≤ scoreFrom < ${length} (its length), ` +
        `got ${shown(scoreFrom)}`,
    );
}

const PROMPTS = rule('an array of prompts (text, token ids or messages)', Array.isArray);
export const isPrompt = (prompt: unknown): prompt is Prompt =>
  typeof prompt === 'string' ||
  isChat(prompt) ||
  (Array.isArray(prompt) && prompt.every((id) => typeof id === 'number'));

/** Prompts as token ids; texts and chats go through the model's tokenizer. @throws as packSequences. */
export function packPrompts(caller: string, model: ModelParts, prompts: readonly Prompt[]): PackedSequences {
  check(caller, 'prompts', prompts, PROMPTS);
  const sequences = prompts.map((prompt, i) => {
    if (!isPrompt(prompt))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: prompts[${i}] must be text, token ids or messages { role, content }, got ${shown(prompt)}`,
      );
    return encodePrompt(() => tokenizerOf(model.companions), prompt);
  });
  return packSequences(caller, model, sequences, 'prompts');
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
  // In this order a prefix comes right after what continues it, if anything does.
  const order = [...prefixes.keys()].sort((i, j) => compareIds(prefixes[j]!, prefixes[i]!));
  const kept: (readonly number[])[] = [];
  const holder: number[] = [];
  for (const p of order) {
    const prefix = prefixes[p]!;
    const longer = kept.at(-1);
    const continued = longer !== undefined && beginsWith(longer, prefix);
    if (!continued) kept.push(prefix);
    holder[p] = kept.length - 1;
  }
  const packed = packSequences(caller, limits, kept, name);
  return { packed, row: prefixes.map((prefix, p) => packed.offsets[holder[p]!]! + prefix.length - 1) };
}

/** Lexicographic order of token lists; a list comes before those that continue it. */
function compareIds(a: readonly number[], b: readonly number[]): number {
  for (let t = 0; t < a.length && t < b.length; ++t) {
    if (a[t] !== b[t]) return a[t]! - b[t]!;
  }
  return a.length - b.length;
}

const beginsWith = (ids: readonly number[], prefix: readonly number[]): boolean =>
  prefix.length <= ids.length && prefix.every((id, t) => id === ids[t]);
