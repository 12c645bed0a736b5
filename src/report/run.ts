/** A run as its directory has it. */
import type { Snapshot } from '../analysis/snapshot.js';
import type { Evaluation } from '../evaluation/evaluate.js';

/** One of the runs that a report compares. */
export interface Arm {
  /** As metrics.jsonl names it. */
  readonly id: string;
  readonly label: string;
  /** One plain sentence. */
  readonly description?: string;
  /** Steps before this one trained the classifier only. */
  readonly classifierSteps?: number;
}

/** An evaluation and which arm, seed and step it is of. */
export interface EvaluationRecord extends Evaluation {
  /** Row of the evaluation table, e.g. 'standard RL, 60 steps'. */
  readonly row: string;
  readonly arm: string;
  readonly seed: number;
  readonly step: number;
}

/** summary.json: what a run was. */
export interface RunSummary {
  readonly name: string;
  readonly title: string;
  readonly created: string;
  readonly command: string;
  readonly arms: readonly Arm[];
  readonly seeds: readonly number[];
  readonly evaluations: readonly EvaluationRecord[];
  /** Plain sentences a reader should have beside the figures. */
  readonly notes: readonly string[];
  readonly environment: Readonly<Record<string, string | number>>;
  readonly config: unknown;
  /** Of the study that the run belongs to. */
  readonly claims?: readonly ClaimSummary[];
}

/** A claim of the study with its verdict and what it rests on. */
export interface ClaimSummary {
  readonly claim: string;
  readonly verdict: string;
  readonly evidence: readonly {
    readonly criterion: string;
    readonly met?: boolean | undefined;
    readonly text: string;
  }[];
  readonly care: string;
}

/** One line of metrics.jsonl: TRL's keys, plus arm and seed when a run has several. */
export interface MetricsLine {
  readonly arm: string;
  readonly seed: number;
  readonly step: number;
  readonly values: Readonly<Record<string, number>>;
}

/** A run read from its directory, as far as it could be read. */
export interface Run {
  readonly directory: string;
  readonly summary: RunSummary;
  readonly metrics: readonly MetricsLine[];
  /** analysis.jsonl, as metrics; nested names are joined by '/'. */
  readonly watched: readonly MetricsLine[];
  /** analysis.json. */
  readonly snapshot?: Snapshot;
  /** What could not be read or shown, as sentences. */
  readonly problems: readonly string[];
}
