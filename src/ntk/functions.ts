/**
 * Samples as lists of scalar functions over shared forward passes: every output mode is a way to make this
 * list.
 */
import { check, shown } from '../core/check.js';
import { fail } from '../errors.js';
import { checkSamples, packSequences, type Sample } from '../model/batch.js';
import { type Model, modelRule } from '../model/model.js';
import type { NativeFunctions } from '../core/addon/contract.js';

/**
 * 'sequence': one function Σ log π per sample; 'token': one per scored position, samples one after the other.
 */
export type Level = 'sequence' | 'token';

/** Collects functions; each is a sum of terms, a target at a row of the packed tokens. */
class Builder {
  readonly sequence: number[] = [];
  readonly termOffsets = [0];
  readonly rows: number[] = [];
  readonly targets: number[] = [];
  constructor(readonly packed: { ids: Int32Array; offsets: Int32Array }) {}
  /** A function of sequence s; terms are added between begin and end. */
  add(s: number, terms: Iterable<readonly [row: number, target: number]>): void {
    for (const [row, target] of terms) {
      this.rows.push(this.packed.offsets[s]! + row);
      this.targets.push(target);
    }
    this.sequence.push(s);
    this.termOffsets.push(this.rows.length);
  }
  build(output: 'logp' | 'logit'): NativeFunctions {
    return {
      ...this.packed,
      output,
      sequence: Int32Array.from(this.sequence),
      termOffsets: Int32Array.from(this.termOffsets),
      rows: Int32Array.from(this.rows),
      targets: Int32Array.from(this.targets),
    };
  }
}

function checked(caller: string, model: Model, samples: readonly Sample[]): Builder {
  check(caller, 'model', model, modelRule);
  checkSamples(caller, samples);
  const sequences = samples.map(({ inputIds }) => inputIds);
  packSequences(caller, model, sequences);
  samples.forEach(({ inputIds, scoreFrom }, s) => {
    if (!(Number.isInteger(scoreFrom) && scoreFrom >= 1 && scoreFrom < inputIds.length))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: samples[${s}].scoreFrom must satisfy 1 ≤ scoreFrom < ${inputIds.length} (its length), got ` +
          `${shown(scoreFrom)}`,
      );
  });
  // The last token is a target only. Without its row, functions of whole samples use all rows of the forward
  // pass, and nothing is gathered for them.
  const prefixes = samples.map(({ inputIds }) => inputIds.slice(0, -1));
  return new Builder(packSequences(caller, model, prefixes));
}

/** Log-probabilities of the scored tokens, summed per sample or one by one. */
export function targetFunctions(
  caller: string,
  model: Model,
  samples: readonly Sample[],
  level: Level,
): NativeFunctions {
  const builder = checked(caller, model, samples);
  samples.forEach(({ inputIds, scoreFrom }, s) => {
    const terms = Array.from(
      { length: inputIds.length - scoreFrom },
      (_, i) => [scoreFrom + i - 1, inputIds[scoreFrom + i]!] as const,
    );
    if (level === 'sequence') builder.add(s, terms);
    else for (const term of terms) builder.add(s, [term]);
  });
  return builder.build('logp');
}

/**
 * Logits z_v of chosen vocabulary entries at the states inputIds[<t], t ≥ scoreFrom: state by state, entries
 * in the order given.
 */
export function logitFunctions(
  caller: string,
  model: Model,
  samples: readonly Sample[],
  entries: readonly number[],
): NativeFunctions {
  const builder = checked(caller, model, samples);
  samples.forEach(({ inputIds, scoreFrom }, s) => {
    for (let t = scoreFrom; t < inputIds.length; ++t) {
      for (const v of entries) builder.add(s, [[t - 1, v]]);
    }
  });
  return builder.build('logit');
}

/** Logits of chosen entries at the last position of each prefix. */
export function lastLogitFunctions(
  caller: string,
  model: Model,
  prefixes: readonly (readonly number[])[],
  entries: readonly number[],
): NativeFunctions {
  const builder = new Builder(packSequences(caller, model, prefixes, 'prefixes'));
  prefixes.forEach((prefix, s) => {
    for (const v of entries) builder.add(s, [[prefix.length - 1, v]]);
  });
  return builder.build('logit');
}
