/** What one rendering has: its variables, its output, its budget. */
import type { Span } from './nodes.js';
import { Refusal } from './errors.js';
import type { Value } from './values.js';

/** Stands in a variable that has no value. */
export const MISSING = Symbol('missing');

/** The variables of one call of a function; the first is those of the function around it. */
export type Environment = Value[];

export interface Output {
  text: string;
}

export interface Budget {
  readonly milliseconds: number;
  /** Characters of any text that is made. */
  readonly characters: number;
}

export const BUDGET: Budget = { milliseconds: 10_000, characters: 64_000_000 };

const STEPS_BETWEEN_LOOKS = 1024;

export class Run {
  readonly root: Output = { text: '' };
  /** What the template sets at its top, for its blocks. */
  readonly set = new Map<string, Value>();
  /** Where {% generation %} blocks lie in the text. */
  readonly generated: (readonly [number, number])[] = [];
  /** The tag that is being rendered. */
  at: Span | undefined;
  private steps = 0;
  private readonly deadline: number;

  constructor(
    private readonly variables: ReadonlyMap<string, Value>,
    private readonly budget: Budget,
  ) {
    this.deadline = performance.now() + budget.milliseconds;
  }

  resolve(name: string): Value {
    const own = this.set.get(name);
    if (own !== undefined) return own;
    const given = this.variables.get(name);
    return given === undefined ? MISSING : given;
  }

  step(): void {
    ++this.steps;
    if (this.steps % STEPS_BETWEEN_LOOKS === 0 && performance.now() > this.deadline)
      throw new Refusal(`rendering took longer than ${this.budget.milliseconds / 1000} s and was ended`);
  }

  write(output: Output, text: string): void {
    output.text += text;
    if (output.text.length > this.budget.characters)
      throw new Refusal(`the text is longer than ${this.budget.characters} characters and was ended`);
  }
}
