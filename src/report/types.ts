/** What a report shows of a run, before anybody lays it out. */
import type { DefinitionKey } from './definitions.js';
import type { Arm } from './run.js';

export interface Point {
  readonly x: number;
  readonly mean: number;
  /** Over seeds; 0 for one seed. */
  readonly deviation: number;
}
export interface Curve {
  readonly arm: Arm;
  /** Place of the arm in the run: its colour everywhere. */
  readonly index: number;
  readonly points: readonly Point[];
}
export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly definition: DefinitionKey;
  readonly curves: readonly Curve[];
  /** Drawn as points joined by lines rather than a dense curve. */
  readonly markers: boolean;
}

export interface Cell {
  readonly mean: number;
  readonly deviation: number;
  readonly count: number;
}
export interface Column {
  readonly key: string;
  readonly label: string;
  readonly definition: DefinitionKey;
  /** Whose text a distribution was measured on. */
  readonly qualifier?: 'fixed' | 'onPolicy';
  readonly digits: number;
}
export interface Row {
  readonly label: string;
  readonly armIndex: number;
  readonly cells: readonly (Cell | undefined)[];
}

export type Tone = 'good' | 'warn' | 'bad' | 'none';
export interface Verdict {
  readonly tone: Tone;
  readonly headline: string;
  readonly sentences: readonly { readonly tone: Tone; readonly text: string }[];
}

export interface Content {
  readonly verdict: Verdict;
  readonly figures: readonly Figure[];
  /** From analysis.record. */
  readonly watched: readonly Figure[];
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** Seeds that anything is known of. */
  readonly seeds: number;
}
