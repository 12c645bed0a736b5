/** Event files read back by a reader of their own: framing, checksums bit by bit, messages. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';

import { GRPOTrainer, resolveConfig } from '../../../src/rl/index.js';
import { config, logged, prompts, temporary, tinyModel, wantedTokens } from '../helpers.js';

/** CRC-32C (Castagnoli, reflected), one bit at a time. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
const unmasked = (masked: number) => {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
};

interface Event {
  step: number;
  version?: string;
  started?: boolean;
  scalars: Record<string, number>;
}

function fields(bytes: Uint8Array, read: (field: number, reader: BinaryReader) => void): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) read(reader.tag()[0], reader);
}
function parse(payload: Uint8Array): Event {
  const event: Event = { step: 0, scalars: {} };
  fields(payload, (field, r) => {
    if (field === 1) expect(Math.abs(r.double() - Date.now() / 1000)).toBeLessThan(3600);
    else if (field === 2) event.step = Number(r.int64());
    else if (field === 3) event.version = r.string();
    else if (field === 7)
      fields(r.bytes(), (f, s) => {
        expect(f).toBe(1);
        event.started = s.int32() === 1;
      });
    else if (field === 5)
      fields(r.bytes(), (f, s) => {
        expect(f).toBe(1);
        let tag = '';
        let value = NaN;
        fields(s.bytes(), (g, v) => {
          if (g === 1) tag = v.string();
          else value = v.float();
        });
        event.scalars[tag] = value;
      });
    else throw new Error(`field ${field}`);
  });
  return event;
}
function readEvents(file: string): Event[] {
  const data = readFileSync(file);
  const events = [];
  for (let at = 0; at < data.length; ) {
    const length = Number(data.readBigUInt64LE(at));
    expect(unmasked(data.readUInt32LE(at + 8))).toBe(crc32c(data.subarray(at, at + 8)));
    const payload = data.subarray(at + 12, at + 12 + length);
    expect(unmasked(data.readUInt32LE(at + 12 + length))).toBe(crc32c(payload));
    events.push(parse(payload));
    at += length + 16;
  }
  return events;
}

describe('TensorBoard', () => {
  it('has every number of metrics.jsonl; a resumed run takes back what came after its checkpoint', async () => {
    const outputDir = temporary();
    const make = async () =>
      new GRPOTrainer({
        model: await tinyModel(),
        rewardFuncs: wantedTokens,
        trainDataset: prompts(),
        evalDataset: prompts(2),
        config: { ...config, maxSteps: 4, evalSteps: 2, outputDir, reportTo: 'tensorboard' },
      });
    const first = await make();
    for await (const { step } of first.steps()) {
      if (step === 2) await first.saveCheckpoint();
      if (step === 3) break;
    }
    await (await make()).train({ resumeFrom: 'latest' });
    const directory = join(outputDir, 'tensorboard');
    const [before, after] = readdirSync(directory)
      .sort()
      .map((name) => readEvents(join(directory, name)));
    expect([before![0]!.version, after![0]!.version]).toEqual(['brain.Event:2', 'brain.Event:2']);
    expect(before!.slice(1).map((e) => e.step)).toEqual([1, 2, 3]);
    expect(after!.slice(1).map((e) => [e.step, e.started ?? false])).toEqual([
      [3, true],
      [3, false],
      [4, false],
    ]);
    const rows = logged(outputDir);
    for (const event of after!.slice(2)) {
      const row = rows[event.step - 1]! as Record<string, unknown>;
      const numbers = Object.entries(row).filter(
        ([key, value]) => key !== 'step' && typeof value === 'number',
      );
      for (const [key, value] of numbers)
        expect(event.scalars[key.startsWith('eval_') ? `eval/${key.slice(5)}` : `train/${key}`], key).toBe(
          Math.fround(value as number),
        );
      expect(Object.keys(event.scalars)).toHaveLength(numbers.length + 1); // and step_time, which logged() leaves out
    }
    expect(after!.at(-1)!.scalars['eval/reward']).toEqual(expect.any(Number));
  });
  it('says how to get to Weights & Biases', () => {
    expect(() => resolveConfig('GRPOConfig', { report_to: 'wandb' })).toThrow('wandb sync');
    expect(() => resolveConfig('GRPOConfig', { report_to: ['tensorboard', 'wandb'] })).toThrow('wandb sync');
    expect(resolveConfig('GRPOConfig', { report_to: 'none' }).reportTo).toEqual(['none']);
  });
});
