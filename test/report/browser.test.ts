/**
 * Reports as a browser shows them, wide and narrow: no error on the console, nothing wider than the window,
 * every figure drawn. Needs a Chromium (Debian: apt install chromium); skipped where there is none.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

import { report } from '../../src/report/index.js';
import { temporaryDirectory } from '../helpers/files.js';
import { analysisLines, jsonl, metricsLines, snapshotOf, summaryOf, writeRun } from './sampleRun.js';

const browser = ['chromium', 'chromium-browser', 'google-chrome'].find((name) => {
  try {
    return execFileSync('which', [name], { stdio: ['ignore', 'pipe', 'ignore'] }).length > 0;
  } catch {
    return false;
  }
});

interface Seen {
  readonly width: number;
  readonly scrollWidth: number;
  readonly figures: number;
  readonly drawn: number;
  readonly cut: readonly string[];
  readonly words: number;
  readonly errors: readonly string[];
}

/** The page in a frame of the given width: a headless window is never narrower than 500 pixels. */
async function look(page: string, directory: string, width: number, dark: boolean): Promise<Seen> {
  const frame = join(directory, `frame-${width}.html`);
  writeFileSync(
    frame,
    `<body style="margin:0">
    <iframe src="${page}" style="border:0;width:${width}px;height:900px"></iframe>
    <pre id="seen"></pre>
    <script>
    const left = (element) => element.getBoundingClientRect().left;
    const cutTexts = (chart) =>
      [...chart.querySelectorAll('svg text')].filter((text) => left(text) < left(chart)).map((t) => t.textContent);
    const isDrawn = (chart) =>
      chart.querySelectorAll('svg path').length > 3 &&
      chart.querySelector('svg').getBoundingClientRect().width > 200;
    const frame = document.querySelector('iframe');
    frame.addEventListener('load', () => setTimeout(() => {
      const { document: page } = frame.contentWindow;
      const charts = [...page.querySelectorAll('figure .chart')];
      document.getElementById('seen').textContent = JSON.stringify({
        width: ${width},
        scrollWidth: page.documentElement.scrollWidth,
        figures: charts.length,
        cut: charts.flatMap(cutTexts),
        words: page.body.innerText.split(/\\s+/).length,
        drawn: charts.filter(isDrawn).length,
      });
    }, 800));</script></body>`,
  );
  const { stdout, stderr } = await promisify(execFile)(
    browser!,
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--allow-file-access-from-files',
      '--enable-logging=stderr',
      '--virtual-time-budget=6000',
      `--window-size=${Math.max(width, 500)},1000`,
      ...(dark ? ['--blink-settings=preferredColorScheme=0'] : []),
      '--dump-dom',
      `file://${frame}`,
    ],
    { maxBuffer: 1 << 26, timeout: 60_000 },
  );
  const seen = JSON.parse(/<pre id="seen">(.*?)<\/pre>/.exec(stdout)![1]!) as Seen;
  return { ...seen, errors: stderr.split('\n').filter((line) => /CONSOLE/.test(line)) };
}

describe(`in a browser${browser ? '' : ' (skipped: there is no chromium on this machine)'}`, () => {
  const whole = () => {
    const directory = writeRun(join(temporaryDirectory(), 'whole'), {
      summary: JSON.stringify({
        ...summaryOf(),
        claims: [
          {
            claim: 'Features vary little.',
            verdict: 'partly',
            evidence: [{ criterion: 'cosine ≥ .5', met: false, text: 'main-grpo: cosine 0.18' }],
            care: 'Small model.',
          },
        ],
      }),
    });
    writeFileSync(join(directory, 'analysis.jsonl'), jsonl(analysisLines()));
    writeFileSync(join(directory, 'analysis.json'), JSON.stringify(snapshotOf()));
    return directory;
  };
  it.skipIf(!browser).each([
    [1280, false],
    [390, true],
  ])(
    'a whole run at %i pixels',
    async (width, dark) => {
      const directory = whole();
      const page = join(directory, 'report.html');
      await report.write(directory, page);
      const { figures, drawn, cut, scrollWidth, errors } = await look(page, directory, width, dark);
      expect(errors).toEqual([]);
      expect(scrollWidth).toBeLessThanOrEqual(width);
      // Training 7, watched 8, snapshot: scatter, parts, three kernels, spectra, cosines.
      expect(figures).toBe(7 + 8 + 7);
      expect(drawn).toBe(figures);
      expect(cut).toEqual([]);
    },
    120_000,
  );

  it.skipIf(!browser)(
    'broken runs are pages that say so, without errors',
    async () => {
      const directory = join(temporaryDirectory(), 'broken');
      mkdirSync(directory, { recursive: true });
      const lines = jsonl(metricsLines(['standard'], [0], 12)).split('\n');
      lines[3] = '{"arm":"stan';
      writeFileSync(
        join(directory, 'metrics.jsonl'),
        lines.join('\n').replaceAll(/"entropy":[^,]*/g, '"entropy":NaN'),
      );
      writeFileSync(join(directory, 'analysis.jsonl'), 'garbage\n');
      writeFileSync(
        join(directory, 'analysis.json'),
        JSON.stringify({
          ...snapshotOf(),
          kernels: [{ name: 'total' }],
          cosines: 'none',
          step: { points: [[null, 1]] },
        }),
      );
      const page = join(directory, 'report.html');
      await report.write(directory, page);
      const { errors, words, figures, drawn } = await look(page, directory, 390, false);
      expect(errors).toEqual([]);
      expect(words).toBeGreaterThan(100);
      expect(drawn).toBe(figures);
    },
    120_000,
  );
});
