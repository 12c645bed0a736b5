/**
 * TensorBoard event files: TFRecords (length, masked CRC-32C, payload, masked CRC-32C; little endian) of
 * Event messages with scalars. There is no npm package that writes them; protobuf's wire format and the
 * checksum are two optional packages', the framing is here.
 *   Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
 *           SessionLog session_log = 7 }
 *   Summary { repeated Value value = 1 }
 *   Value { string tag = 1; float simple_value = 2 }
 *   SessionLog { status = 1: START = 1 }
 */
import { appendFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { io } from '../../core/files.js';
import { codedError } from '../../errors.js';

export const DIRECTORY = 'tensorboard';

/** Field numbers of the messages. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 };
const SUMMARY = { value: 1 };
const VALUE = { tag: 1, simpleValue: 2 };
/** And the value of its status that says where a run begins. */
const SESSION_LOG = { status: 1, start: 1 };

async function load() {
  try {
    const [wire, { crc32c }] = await Promise.all([
      import('@bufbuild/protobuf/wire'),
      import('@node-rs/crc32'),
    ]);
    return { ...wire, crc32c };
  } catch (error) {
    throw codedError(
      'ERR_UNSUPPORTED',
      "reportTo 'tensorboard' needs two optional packages, which are not installed: " +
        'npm install @bufbuild/protobuf @node-rs/crc32',
      error,
    );
  }
}
type Tools = Awaited<ReturnType<typeof load>>;

/** transformers' names: train/…, and eval/… for what begins with eval_. */
const tagOf = (key: string): string => (key.startsWith('eval_') ? `eval/${key.slice(5)}` : `train/${key}`);

export class TensorBoard {
  readonly #tools: Tools;
  readonly #caller: string;
  readonly #file: string;

  private constructor(tools: Tools, caller: string, file: string) {
    this.#tools = tools;
    this.#caller = caller;
    this.#file = file;
  }

  /**
   * A new file in <outputDir>/tensorboard. `step`: where a resumed run goes on; TensorBoard then forgets what
   * other files have beyond it.
   * @throws ERR_UNSUPPORTED when a package is missing, ERR_IO.
   */
  static async open(outputDir: string, step: number, caller: string): Promise<TensorBoard> {
    const tools = await load();
    const directory = join(outputDir, DIRECTORY);
    await io(caller, 'write', directory, () => mkdir(directory, { recursive: true }));
    const seconds = Math.floor(Date.now() / 1000);
    const unique = `${process.pid}.${process.hrtime.bigint()}`;
    const name = `events.out.tfevents.${seconds}.headfirst.${unique}`;
    const board = new TensorBoard(tools, caller, join(directory, name));
    const { BinaryWriter, WireType } = tools;
    const version = new BinaryWriter()
      .tag(EVENT.wallTime, WireType.Bit64)
      .double(Date.now() / 1000)
      .tag(EVENT.fileVersion, WireType.LengthDelimited)
      .string('brain.Event:2');
    await board.#append(version.finish());
    if (step > 0) {
      const start = new BinaryWriter().tag(SESSION_LOG.status, WireType.Varint).int32(SESSION_LOG.start);
      const event = board.#event(step + 1).tag(EVENT.sessionLog, WireType.LengthDelimited);
      await board.#append(event.bytes(start.finish()).finish());
    }
    return board;
  }

  /** One number per tag at this step; what is no finite number is left out. */
  async scalars(step: number, row: Readonly<Record<string, unknown>>): Promise<void> {
    const { BinaryWriter, WireType } = this.#tools;
    const summary = new BinaryWriter();
    for (const [key, value] of Object.entries(row)) {
      if (key === 'step' || typeof value !== 'number' || !Number.isFinite(value)) continue;
      const scalar = new BinaryWriter()
        .tag(VALUE.tag, WireType.LengthDelimited)
        .string(tagOf(key))
        .tag(VALUE.simpleValue, WireType.Bit32)
        .float(value);
      summary.tag(SUMMARY.value, WireType.LengthDelimited).bytes(scalar.finish());
    }
    const event = this.#event(step).tag(EVENT.summary, WireType.LengthDelimited);
    await this.#append(event.bytes(summary.finish()).finish());
  }

  /** An event of a step, to which its content is added. */
  #event(step: number) {
    const { BinaryWriter, WireType } = this.#tools;
    return new BinaryWriter()
      .tag(EVENT.wallTime, WireType.Bit64)
      .double(Date.now() / 1000)
      .tag(EVENT.step, WireType.Varint)
      .int64(step);
  }

  /** The whole record in one write. */
  async #append(payload: Uint8Array): Promise<void> {
    const lengthSize = 8;
    const checksumSize = 4;
    const begin = lengthSize + checksumSize;
    const record = Buffer.alloc(begin + payload.length + checksumSize);
    record.writeBigUInt64LE(BigInt(payload.length));
    record.writeUInt32LE(this.#masked(record.subarray(0, lengthSize)), lengthSize);
    record.set(payload, begin);
    record.writeUInt32LE(this.#masked(payload), begin + payload.length);
    await io(this.#caller, 'write', this.#file, () => appendFile(this.#file, record));
  }
  /** TFRecord's masked CRC-32C. */
  #masked(bytes: Uint8Array): number {
    const crc = this.#tools.crc32c(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  }
}
