/** Reports of whole, broken and empty runs: always a page, always said what is missing. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { contentOf } from '../../src/report/content.js';
import { report } from '../../src/report/index.js';
import { jsonl, metricsLines, summaryOf, writeRun } from './sampleRun.js';

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'headfirst-report-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let count = 0;
async function page(
  files: Parameters<typeof writeRun>[1],
): Promise<{ html: string; run: ReturnType<typeof report.load>; text: string }> {
  const directory = writeRun(join(root, String(++count)), files);
  const file = join(directory, 'report.html');
  await report.write(directory, file);
  return { html: readFileSync(file, 'utf8'), run: report.load(directory), text: report.terminal(directory) };
}
/** The page without its scripts and drawings: what a person reads. */
const words = (html: string) =>
  html
    .replace(/<script[\s\S]*?<\/script>|<style[\s\S]*?<\/style>|<svg[\s\S]*?<\/svg>/g, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&#(\d+);/g, (_, c: string) => String.fromCharCode(Number(c)))
    .replace(/\s+/g, ' ');

describe('a whole run', () => {
  it('is one self-contained page with every figure drawn', async () => {
    const { html, run } = await page({});
    expect(run.problems).toEqual([]);
    expect(html.match(/<figure/g)).toHaveLength(7);
    expect(html.match(/<svg [^>]*width="560"/g)).toHaveLength(7);
    // Nothing is fetched: no external scripts, styles, images or fonts.
    const shell = html.replace(/<script>[\s\S]*?<\/script>/g, '');
    expect(/(?:src|href)="(?!data:)|url\((?!#)|@import/.exec(shell)).toBeNull();
    expect(words(html)).toContain('27 % right before, 64 % after CF ×10, 20 + 60.');
    expect(words(html)).toContain('base model’s own evaluation samples');
  });

  it('bands and cells are mean and standard deviation over seeds', async () => {
    const { run, text } = await page({});
    const { figures, rows } = contentOf(run);
    const own = metricsLines()
      .filter((l) => (l as { arm: string; step: number }).arm === 'cf' && (l as { step: number }).step === 40)
      .map((l) => (l as { reward: number }).reward);
    const point = figures.find((f) => f.id === 'reward')!.curves.find((c) => c.arm.id === 'cf')!.points[39]!;
    const centre = own.reduce((a, b) => a + b) / 3;
    expect(point.x).toBe(40);
    expect(point.mean).toBeCloseTo(centre, 12);
    expect(point.deviation).toBeCloseTo(
      Math.sqrt(own.reduce((sum, x) => sum + (x - centre) ** 2, 0) / 2),
      12,
    );
    expect(rows.map((row) => row.label)).toEqual([
      'base',
      'standard, 60',
      'standard, 80',
      'CF ×10, stage 1',
      'CF ×10, 20 + 60',
    ]);
    expect(rows[0]!.cells[0]).toMatchObject({ count: 3 });
    expect(text).toMatch(/base +0\.270 ±\.010/);
    // The held-out curve of a trained arm starts at the base model.
    expect(figures[0]!.curves.map((c) => c.points.map((p) => p.x))).toEqual([
      [0, 60, 80],
      [0, 20, 80],
    ]);
  });

  it('text from a run cannot become markup', async () => {
    const { html } = await page({
      summary: JSON.stringify({
        ...summaryOf(),
        title: '<img src=x onerror=alert(1)>',
        notes: ['</script><script>alert(1)</script>'],
        arms: [{ id: 'standard', label: '</script><b>' }],
      }),
    });
    // Seven figures' data, the library and the page's own script: not one element more.
    expect(html.match(/<script[ >]/g)).toHaveLength(9);
    expect(/<img|<b>[^✓!✗–W]/.exec(html.replace(/<script[\s\S]*?<\/script>/g, ''))).toBeNull();
  });
});

describe('verdict', () => {
  const run = (rewards: number[], entropies: number[]) =>
    page({
      summary: undefined,
      metrics: jsonl(rewards.map((reward, i) => ({ step: i + 1, reward, entropy: entropies[i] }))),
    });
  const ramp = (from: number, to: number) =>
    Array.from({ length: 20 }, (_, i) => from + ((to - from) * i) / 19);
  it.each([
    ['good', 'learned and did not collapse', ramp(0.2, 0.6), ramp(0.7, 0.4)],
    [
      'bad',
      'collapsed: reward rose to',
      [...ramp(0.2, 0.6), ...ramp(0.6, 0.05)],
      ramp(0.7, 0.4).concat(ramp(0.4, 0.1)),
    ],
    [
      'bad',
      'collapsed: reward rose to',
      [...ramp(0.2, 0.8), ...ramp(0.8, 0.45), ...Array(20).fill(0.45)],
      ramp(0.7, 0.4),
    ],
    [
      'good',
      'did not collapse',
      [...ramp(0.2, 0.8), ...ramp(0.8, 0.65), ...Array(20).fill(0.65)],
      ramp(0.7, 0.4),
    ],
    [
      'bad',
      'entropy is nearly gone',
      ramp(0.3, 0.2),
      [...ramp(0.7, 0.01).slice(0, 14), 0.01, 0.01, 0.01, 0.01, 0.01, 0.01],
    ],
    ['warn', 'did not learn', ramp(0.3, 0.25), ramp(0.7, 0.6)],
  ])('%s: %s', async (tone, sentence, rewards, entropies) => {
    const { run: loaded, html } = await run(rewards, entropies);
    expect(contentOf(loaded).verdict.tone).toBe(tone);
    expect(words(html)).toContain(sentence);
  });
});

describe('a broken run', () => {
  it('names corrupt lines, NaN and missing steps, and draws the rest', async () => {
    const lines = jsonl(metricsLines(['standard'], [0], 12)).split('\n');
    lines[3] = '{"arm":"standard","se';
    lines[5] = lines[5]!.replace(/"entropy":[^,]*/, '"entropy":NaN');
    lines[6] = lines[6]!.replace(/"entropy":[^,]*/, '"entropy":null');
    const { html, run, text } = await page({ metrics: lines.join('\n') });
    expect(run.problems).toEqual([
      'metrics.jsonl: 1 line could not be read and was left out (line 4).',
      'metrics.jsonl: entropy was not a finite number at 2 steps; its curve has gaps there.',
      'metrics.jsonl: standard, seed 0 has no line for step 4.',
    ]);
    for (const problem of run.problems) {
      expect(words(html)).toContain(problem);
      expect(text).toContain(problem);
    }
    expect(run.metrics).toHaveLength(11);
    expect(html.match(/<figure/g)!.length).toBeGreaterThan(4);
  });

  it('takes the later line of a step that was written twice, as a resumed run does', async () => {
    const { run } = await page({
      summary: undefined,
      metrics: jsonl([
        { step: 1, reward: 0.1 },
        { step: 2, reward: 0.2 },
        { step: 2, reward: 0.9 },
      ]),
    });
    expect(run.metrics.map((line) => line.values['reward'])).toEqual([0.1, 0.9]);
  });

  it('says which seeds are still to come, and counts only those that are there', async () => {
    const { html, run } = await page({
      summary: JSON.stringify({ ...summaryOf([0, 1]), seeds: [0, 1, 2, 3] }),
      metrics: jsonl(metricsLines(['standard', 'cf'], [0, 1], 20)),
    });
    expect(run.problems).toEqual([
      'The run is not finished: nothing is known of seeds 2, 3 yet. The command that began it goes on from here.',
    ]);
    expect(words(html)).toContain('over 2 seeds');
  });

  it.each([
    ['an unreadable summary', { summary: '{"name":' }, /summary\.json could not be read/],
    [
      'a summary of the wrong shape',
      { summary: '{"arms":7,"evaluations":[{"row":1}],"seeds":"x"}' },
      /some of 'arms' is not what was expected/,
    ],
    [
      'an evaluation without numbers',
      {
        summary: JSON.stringify({ ...summaryOf(), evaluations: [{ row: 'x', arm: 'cf', seed: 0, step: 3 }] }),
      },
      /–/,
    ],
    ['no metrics', { metrics: '' }, /no training steps/],
    [
      'metrics of garbage',
      { summary: undefined, metrics: '\u0000\u0001\n[]\nnull\n{"step":"one"}\n' },
      /4 lines could not be read/,
    ],
  ])('%s still makes a page that says so', async (_, files, said) => {
    const { html } = await page(files);
    expect(words(html)).toMatch(said);
    expect(words(html)).toContain('Definitions');
  });

  it('without any file of a run is an error that says what to give', async () => {
    expect(() => report.load(join(root, 'nowhere'))).toThrowError(
      /neither summary\.json nor metrics\.jsonl; give the directory of a run/,
    );
    await expect(
      report.write(writeRun(join(root, 'fine')), join(root, 'no', 'such', 'place.html')),
    ).rejects.toThrowError(/could not be written/);
  });
});
