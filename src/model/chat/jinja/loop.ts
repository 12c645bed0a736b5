/** The variable `loop`. */
import { compare } from './operators.js';
import { raise } from './errors.js';
import {
  Callable,
  iterate,
  listOf,
  Range,
  Structure,
  Dict,
  Tuple,
  Undefined,
  type Value,
  View,
} from './values.js';

type Render = (iterable: Value, depth: number) => string;

/** Walks over an iterable and knows where it is. It looks ahead only when it is asked for what follows. */
export class LoopContext implements Iterator<Value> {
  private iterator: Iterator<Value>;
  private index0 = -1;
  private known: number | undefined;
  private after: IteratorResult<Value> | undefined;
  private current: Value;
  private before: Value;
  private lastChanged: Tuple | undefined;
  /** What templates see. */
  readonly structure: Structure;

  constructor(
    private readonly iterable: Value,
    render: Render | undefined,
    depth0: number,
  ) {
    this.iterator = iterate(iterable);
    const cycle = new Callable('cycle', (args) => {
      if (args.length === 0) raise('TypeError', 'no items for cycling given');
      return args[this.index0 % args.length];
    });
    const changed = new Callable('changed', (args) => this.changed(new Tuple(args)));
    this.structure = new Structure('LoopContext', {
      index0: () => this.index0,
      index: () => this.index0 + 1,
      length: () => this.length(),
      revindex: () => this.length() - this.index0,
      revindex0: () => this.length() - this.index0 - 1,
      first: () => this.index0 === 0,
      last: () => this.peek().done === true,
      depth0: () => depth0,
      depth: () => depth0 + 1,
      previtem: () => (this.index0 === 0 ? new Undefined('there is no previous item') : this.before),
      nextitem: () => {
        const next = this.peek();
        return next.done ? new Undefined('there is no next item') : next.value;
      },
      cycle: () => cycle,
      changed: () => changed,
      __call__: () =>
        new Callable('loop', ([items]) => {
          if (render === undefined)
            raise('TypeError', "The loop must have the 'recursive' marker to be called recursively.");
          return render(items, depth0 + 1);
        }),
    });
  }

  private length(): number {
    if (this.known !== undefined) return this.known;
    const length = sizeOf(this.iterable);
    if (length !== undefined) {
      this.known = length;
      return length;
    }
    const rest: Value[] = [];
    for (let next = this.iterator.next(); !next.done; next = this.iterator.next()) rest.push(next.value);
    this.iterator = rest[Symbol.iterator]();
    const hasPeeked = this.after !== undefined && !this.after.done;
    this.known = rest.length + this.index0 + 1 + Number(hasPeeked);
    return this.known;
  }

  private peek(): IteratorResult<Value> {
    if (this.after === undefined || this.after.done) this.after = this.iterator.next();
    return this.after;
  }

  private changed(values: Tuple): boolean {
    const isSame = this.lastChanged !== undefined && compare('==', this.lastChanged, values) === true;
    this.lastChanged = values;
    return !isSame;
  }

  next(): IteratorResult<Value> {
    const peeked = this.after !== undefined && !this.after.done ? this.after : undefined;
    const result = peeked ?? this.iterator.next();
    this.after = undefined;
    if (result.done) return result;
    ++this.index0;
    this.before = this.current;
    this.current = result.value;
    return result;
  }
}

function sizeOf(value: Value): number | undefined {
  if (value instanceof Dict) return value.size;
  if (value instanceof Range) return value.length;
  if (value instanceof View) return value.dict.size;
  if (value instanceof Undefined) return 0;
  const isSized = Array.isArray(value) || typeof value === 'string' || value instanceof Tuple;
  return isSized ? listOf(value).length : undefined;
}
