/** What a run comes to, in words: did each arm learn, and did it collapse? */
import { mean } from '../evaluation/estimators.js';
import type { Curve, Figure, Row, Tone, Verdict } from './types.js';

/** Fewer steps than this are noise. */
const STEPS_TO_JUDGE = 15;
/** A curve's ends are means over this share of it: single steps are noisy. */
const WINDOW_SHARE = 1 / 5;
/** Collapsed: the last reward keeps less than this share of the best gain. */
const KEPT_OF_BEST_GAIN = 0.4;
/** Collapsed: and the loss is more than this share of the best reward. */
const LOSS_OF_BEST = 0.1;
/** Collapsed without learning: less than this share of the first entropy is left. */
const ENTROPY_GONE = 0.05;
/** Worth a warning: less than this share is left. */
const ENTROPY_LOW = 0.1;

/** Columns of the evaluation table, by place. */
const PASS_AT_1 = 0;
const DISTINCT = 3;

/** The verdict on all arms that have steps enough. */
export function verdictOn(figures: readonly Figure[], rows: readonly Row[]): Verdict {
  const curvesOf = (id: string) => figures.find((figure) => figure.id === id)?.curves ?? [];
  const rewards = curvesOf('reward').filter(({ points }) => points.length >= STEPS_TO_JUDGE);
  if (rewards.length === 0)
    return {
      tone: 'none',
      headline: `Too short to judge: fewer than ${STEPS_TO_JUDGE} training steps.`,
      sentences: [],
    };
  const isTrained = ({ armIndex }: Row) => rewards.some(({ index }) => index === armIndex);
  const start = rows.find((row) => row.armIndex >= 0 && !isTrained(row));
  const sentences = rewards.map((reward) => {
    const entropy = curvesOf('entropy').find(({ index }) => index === reward.index);
    const final = rows.findLast(({ armIndex }) => armIndex === reward.index);
    return armVerdict(reward, entropy, final, start);
  });
  const tone = worst(sentences.map((sentence) => sentence.tone));
  return { tone, headline: headline(tone, rows, start), sentences };
}

function worst(tones: readonly Tone[]): Tone {
  if (tones.includes('bad')) return 'bad';
  return tones.includes('warn') ? 'warn' : 'good';
}

function headline(tone: Tone, rows: readonly Row[], start: Row | undefined): string {
  const before = start?.cells[PASS_AT_1];
  const best = bestRow(rows);
  if (best && before) {
    const after = best.cells[PASS_AT_1]!;
    return `${percent(before.mean)} right before, ${percent(after.mean)} after ${best.label}.`;
  }
  if (tone === 'bad') return 'This run collapsed.';
  return tone === 'warn' ? 'Look again: see below.' : 'Reward rose, and the run did not collapse.';
}

const percent = (x: number) => `${Math.round(100 * x)}\u00a0%`;

/** The first row of the largest pass@1. */
function bestRow(rows: readonly Row[]): Row | undefined {
  let best: Row | undefined;
  for (const row of rows) {
    const value = row.cells[PASS_AT_1];
    if (value && (!best || value.mean > best.cells[PASS_AT_1]!.mean)) best = row;
  }
  return best;
}

interface Ends {
  readonly first: number;
  readonly last: number;
  readonly best: number;
}

/** Means over the first, the last and the best window of a curve. */
function endsOf({ points }: Curve): Ends {
  const width = Math.max(1, Math.floor(points.length * WINDOW_SHARE));
  const window = (from: number) => mean(points.slice(from, from + width).map((point) => point.mean));
  const all = Array.from({ length: points.length - width + 1 }, (_, i) => window(i));
  return { first: all[0]!, last: all.at(-1)!, best: Math.max(...all) };
}

/** Collapse: most of the best reward lost again, or no entropy left while the reward did not rise. */
function armVerdict(
  rewardCurve: Curve,
  entropyCurve: Curve | undefined,
  final: Row | undefined,
  start: Row | undefined,
): Verdict['sentences'][number] {
  const { label } = rewardCurve.arm;
  const reward = endsOf(rewardCurve);
  const entropy = entropyCurve && endsOf(entropyCurve);
  const learned = reward.last > reward.first;
  const change = `${reward.first.toFixed(2)} → ${reward.last.toFixed(2)}`;
  const entropyChange = entropy && `${entropy.first.toFixed(2)} → ${entropy.last.toFixed(2)}`;
  if (fellBack(reward))
    return {
      tone: 'bad',
      text:
        `${label} collapsed: reward rose to ${reward.best.toFixed(2)} ` +
        `and fell back to ${reward.last.toFixed(2)}.`,
    };
  if (entropy && entropy.last < ENTROPY_GONE * entropy.first && !learned)
    return {
      tone: 'bad',
      text:
        `${label} collapsed: entropy is nearly gone (${entropyChange}) ` +
        `and reward did not rise (${change}).`,
    };
  const sharpness = entropy ? `, entropy ${entropyChange}` : '';
  if (!learned) return { tone: 'warn', text: `${label} did not learn: reward ${change}${sharpness}.` };
  const before = start?.cells[DISTINCT];
  const after = final?.cells[DISTINCT];
  const variety =
    before && after
      ? `; different answers per prompt ${before.mean.toFixed(1)} → ${after.mean.toFixed(1)}`
      : '';
  const sharp = entropy !== undefined && entropy.last < ENTROPY_LOW * entropy.first;
  return {
    tone: sharp ? 'warn' : 'good',
    text: `${label} learned and did not collapse: reward ${change}${sharpness}${variety}.`,
  };
}

function fellBack({ first, last, best }: Ends): boolean {
  const gained = best > first;
  const lostMost = last < first + KEPT_OF_BEST_GAIN * (best - first);
  const lostMuch = best - last > LOSS_OF_BEST * Math.abs(best);
  return gained && lostMost && lostMuch;
}
