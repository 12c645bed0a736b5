/**
 * The study carried out: every run on every seed, one seed after the other, so that whatever is finished is
 * balanced. Resumable. Runs of one task share their base models, <out>/base-models.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import type { RunOptions } from '../experiment/arms.js';
import { claimDirectory, recordsOf, runSeed, writeRun } from '../experiment/runExperiment.js';
import type { ClaimSummary } from '../../report/index.js';
import { allMet, type Claim, mark } from './claims.js';
import type { StudyOptions } from './studyOptions.js';
import { studyRuns } from './studyPlan.js';
import { writeStudy } from './write.js';

const NOTES = [
  'Within a seed all arms share the base model, the split and the sampling: compare arms pair by pair.',
  'Entropy on fixed text can rise when a model moves to another answer format, while on its own samples it ' +
    'falls: read both.',
];

export async function runStudy(options: StudyOptions): Promise<Claim[]> {
  const { out, seeds, size } = options;
  const baseDirectory = join(out, 'base-models');
  const studied = studyRuns(size);
  const runs = studied.map(({ id, plan }) => ({ ...options, plan, out: join(out, id), baseDirectory }));
  if (options.fresh) rmSync(baseDirectory, { recursive: true, force: true });
  for (const run of runs) claimDirectory(run);

  const arms = studied.reduce((sum, { plan }) => sum + plan.arms.length, 0) * seeds.length;
  for (const seed of seeds) {
    for (const [i, run] of runs.entries()) {
      let finished = finishedArms(runs);
      const onPhase: RunOptions['onPhase'] = (phase, ...rest) =>
        options.onPhase?.(`${finished}/${arms} arms · ${studied[i]!.id} · ${phase}`, ...rest);
      await runSeed({ ...run, onPhase }, seed, async () => {
        finished = finishedArms(runs);
      });
      await writeRun(run, () => NOTES);
    }
  }
  options.onPhase?.('arms', finishedArms(runs), arms);
  const claims = await writeStudy(options);
  for (const run of runs) await writeRun(run, () => NOTES, claims.map(summaryOf));
  return claims;
}

/** Arms of all seeds that have reached a mark. */
function finishedArms(runs: readonly RunOptions[]): number {
  const finished = (run: RunOptions) => {
    const trained = recordsOf(run).filter(({ arm }) => arm !== 'base');
    return new Set(trained.map(({ arm, seed }) => `${arm} ${seed}`)).size;
  };
  return runs.reduce((sum, run) => sum + finished(run), 0);
}

/** For the runs' own reports. */
function summaryOf({ claim, verdict, parts, care }: Claim): ClaimSummary {
  const evidence = parts.map(({ criterion, runs }) => ({
    criterion,
    met: allMet(runs.map(({ met }) => met)),
    text: runs.map(({ run, met, evidence: text }) => `${mark(met)} ${run}: ${text}`).join('; '),
  }));
  return { claim, verdict, care, evidence };
}
