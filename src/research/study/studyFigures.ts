/** The study's figures, one SVG file each. */
import { join } from 'node:path';

import { report, type RunSummary } from '../../report/index.js';
import { writeAtomically } from '../experiment/jsonFiles.js';
import { comparisonsOf, type Results } from './compare.js';
import { isRl } from './studyPlan.js';

/** Dense curves of every arm would hide each other: those of the arms that the claims are about are drawn. */
const DENSE_ARMS = ['standard', 'cf-10', 'cf-30', 'w-lr-10', 'lr-2'];

/** Draws the figures of one run into `out`/figures; returns the files' names. */
export async function writeFigures(out: string, results: Results): Promise<string[]> {
  // Loaded here: the plotting library is needed by nothing else.
  const [{ colourOf, contentOf }, { chartOption, intervalOption, renderSvg, standalone }] = await Promise.all(
    [import('../../report/content.js'), import('../../report/figures.js')],
  );
  const { run } = results;
  const loaded = report.load(join(out, run.id));
  const names: string[] = [];
  const write = (id: string, title: string, option: Parameters<typeof standalone>[0], height: number) => {
    const name = `${run.id}-${id}.svg`;
    names.push(name);
    const svg = renderSvg(standalone(option, `${run.plan.title}: ${title}`), 760, height);
    writeAtomically(join(out, 'figures', name), svg);
  };

  const wanted = isRl(run) ? ['pass-at-1', 'reward', 'entropy'] : ['pass-at-1'];
  for (const figure of contentOf(loaded).figures) {
    if (!wanted.includes(figure.id)) continue;
    const curves = figure.markers
      ? figure.curves
      : figure.curves.filter(({ arm }) => DENSE_ARMS.includes(arm.id));
    write(figure.id, figure.title, chartOption({ ...figure, curves }), 380);
  }

  if (!isRl(run)) return names;
  const comparisons = comparisonsOf(results);
  for (const budget of ['full steps', 'total steps'] as const) {
    const rows = comparisons.map(({ arm, label, gains }) => ({
      label,
      index: colourOf(loaded.summary.arms, armOf(loaded.summary, arm)),
      interval: gains[budget],
    }));
    write(
      `gain-${budget.replace(' ', '-')}`,
      `pass@1 over standard RL at equal ${budget}, 95 % intervals`,
      intervalOption(rows, 'pass@1 gained'),
      320,
    );
  }
  return names;
}

const armOf = ({ arms }: RunSummary, id: string) => arms.find((arm) => arm.id === id);
