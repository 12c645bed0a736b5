/**
 * The study carried out: every run on every seed, one seed after the other, so that whatever is finished is
 * balanced. Resumable. Runs of one task share their base models, <out>/base-models.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import type { RunOptions } from '../experiment/arms.js';
import type { Size } from '../experiment/experimentPlan.js';
import { claimDirectory, recordsOf, runSeed, writeRun } from '../experiment/runExperiment.js';
import type { ClaimSummary } from '../../report/index.js';
import type { Claim } from './claims.js';
import { studyRuns } from './studyPlan.js';
import { writeStudy } from './write.js';

export type StudyOptions = Omit<RunOptions, 'plan' | 'baseDirectory'> & { readonly size: Size };

export const NOTES = [
  'Within a seed all arms share the base model, the split and the sampling: compare arms pair by pair.',
  'Entropy on fixed text can rise when a model moves to another answer format, while on its own samples it falls: read both.',
];

export async function runStudy(options: StudyOptions): Promise<Claim[]> {
  const { out, seeds, size } = options;
  const runs = studyRuns(size);
  const baseDirectory = join(out, 'base-models');
  const each = runs.map(
    (run): RunOptions => ({ ...options, plan: run.plan, out: join(out, run.id), baseDirectory }),
  );
  if (options.fresh) rmSync(baseDirectory, { recursive: true, force: true });
  each.forEach(claimDirectory);
  const arms = runs.reduce((sum, { plan }) => sum + plan.arms.length, 0) * seeds.length;
  const done = () =>
    each.reduce(
      (sum, own) =>
        sum +
        new Set(
          recordsOf(own)
            .filter((r) => r.arm !== 'base')
            .map((r) => `${r.arm} ${r.seed}`),
        ).size,
      0,
    );
  for (const seed of seeds) {
    for (const [i, own] of each.entries()) {
      let finished = done();
      const onPhase: RunOptions['onPhase'] = (phase, ...rest) =>
        options.onPhase?.(`${finished}/${arms} arms · ${runs[i]!.id} · ${phase}`, ...rest);
      await runSeed({ ...own, onPhase }, seed, async () => {
        finished = done();
      });
      await writeRun(own, () => NOTES);
    }
  }
  options.onPhase?.('arms', done(), arms);
  const claims = await writeStudy(options);
  for (const own of each) await writeRun(own, () => NOTES, claims.map(summaryOf));
  return claims;
}

/** For the runs' own reports. */
const summaryOf = ({ claim, verdict, parts, care }: Claim): ClaimSummary => ({
  claim,
  verdict,
  care,
  evidence: parts.map(({ criterion, runs }) => ({
    criterion,
    met: runs.some(({ met }) => met === undefined) ? undefined : runs.every(({ met }) => met),
    text: runs
      .map(({ run, met, evidence }) => `${met === undefined ? '?' : met ? '✓' : '✗'} ${run}: ${evidence}`)
      .join('; '),
  })),
});
