/** Progress on stderr: a bar per phase on a terminal, one plain line per finished phase elsewhere. */
import bars from 'cli-progress';

// CommonJS, whose names Node.js does not all find.
const { Format, Presets, SingleBar } = bars;

/** cli-progress has 'NULL' or 'INF' for a time that it does not know. */
const timeText: typeof Format.TimeFormat = (seconds, ...rest) =>
  Number.isFinite(seconds) ? Format.TimeFormat(seconds, ...rest) : '?';

const BAR: bars.Options = {
  format: '{phase} {bar} {value}/{total}{detail} · {eta_formatted} left',
  formatTime: timeText,
  stream: process.stderr,
  hideCursor: true,
  barsize: 24,
  etaBuffer: 30,
};

/** One bar at a time: update() begins a new one when the phase has another name. */
export class Progress {
  readonly #live = process.stderr.isTTY === true;
  #bar: bars.SingleBar | undefined;
  #phase = '';
  #began = 0;
  #last = '';

  update(phase: string, done: number, total: number, detail = ''): void {
    if (phase !== this.#phase) this.#begin(phase, done, total);
    const text = detail && ` · ${detail}`;
    this.#last = `${done}/${total}${text}`;
    this.#bar?.setTotal(total);
    this.#bar?.update(done, { phase, detail: text });
  }
  #begin(phase: string, done: number, total: number): void {
    this.end();
    this.#phase = phase;
    this.#began = Date.now();
    if (!this.#live) return;
    this.#bar = new SingleBar(BAR, Presets.rect);
    // What a resumed run has already is where the bar begins: it says nothing about the speed.
    this.#bar.start(total, done, { phase, detail: '' });
  }
  /** Closes the phase under way. */
  end(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    if (this.#phase && !this.#live) {
      const seconds = (Date.now() - this.#began) / 1000;
      process.stderr.write(`${this.#phase} · ${this.#last} · ${seconds.toFixed(1)} s\n`);
    }
    this.#phase = '';
  }
}

/** The figures of a step worth a glance. */
export function glance(metrics: Readonly<Record<string, unknown>> | undefined): string {
  // Where there is a reward the loss says little.
  const keys = metrics?.['reward'] === undefined ? ['loss', 'entropy'] : ['reward', 'entropy'];
  const known = keys.filter((key) => typeof metrics?.[key] === 'number');
  return known.map((key) => `${key} ${(metrics![key] as number).toFixed(3)}`).join(' · ');
}
