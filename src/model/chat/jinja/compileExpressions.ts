/** Expressions become functions of the variables and the run. */
import { getAttribute, getItem, getSlice } from './attributes.js';
import { callValue } from './calls.js';
import { raise } from './errors.js';
import { FILTERS } from './filters/index.js';
import type { Arguments, CallNode, Expression, FilterNode, SliceNode } from './nodes.js';
import { binary, compare, negate, positive } from './operators.js';
import { stringOf } from './printing.js';
import { type Environment, MISSING, type Run } from './run.js';
import { FunctionScope, Symbols } from './symbols.js';
import { TESTS } from './tests.js';
import {
  Dict,
  isText,
  type Keywords,
  listOf,
  textOf,
  truthy,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

export type Evaluate = (environment: Environment, run: Run) => Value;

/** Where in the template an expression stands: a frame of jinja2's compiler. */
export class Frame {
  /** What a template sets here is seen by its blocks. */
  isTop = false;
  isLoop = false;
  /** Inside a condition: an unknown filter is an error only where it is used. */
  isSoft = false;

  constructor(
    readonly symbols: Symbols,
    readonly scope: FunctionScope,
  ) {}

  inner(): Frame {
    return new Frame(new Symbols(this.symbols, this.scope), this.scope);
  }
  /** A frame in a function of its own. */
  innerFunction(): Frame {
    const scope = new FunctionScope(this.scope);
    return new Frame(new Symbols(this.symbols, scope), scope);
  }
  /** Another frame in the same function, beside this one. */
  sibling(): Frame {
    return new Frame(this.symbols.sibling(), this.scope);
  }
  soft(): Frame {
    const frame = new Frame(this.symbols, this.scope);
    frame.isTop = this.isTop;
    frame.isLoop = this.isLoop;
    frame.isSoft = true;
    return frame;
  }
}

// ---- variables --------------------------------------------------------------------------------------------

export function compileRead(identifier: string, scope: FunctionScope): Evaluate {
  const { hops, slot } = scope.locate(identifier);
  if (hops === 0) return (environment) => environment[slot];
  if (hops === 1) return (environment) => (environment[0] as Environment)[slot];
  return (environment) => {
    let outer = environment;
    for (let i = 0; i < hops; ++i) outer = outer[0] as Environment;
    return outer[slot];
  };
}

export function compileWrite(
  identifier: string,
  scope: FunctionScope,
): (environment: Environment, value: Value) => void {
  const { hops, slot } = scope.locate(identifier);
  if (hops === 0)
    return (environment, value) => {
      environment[slot] = value;
    };
  return (environment, value) => {
    let outer = environment;
    for (let i = 0; i < hops; ++i) outer = outer[0] as Environment;
    outer[slot] = value;
  };
}

function compileName(name: string, frame: Frame): Evaluate {
  const read = compileRead(frame.symbols.ref(name), frame.scope);
  return (environment, run) => {
    const value = read(environment, run);
    return value === MISSING ? new Undefined(`'${name}' is undefined`) : value;
  };
}

// ---- arguments --------------------------------------------------------------------------------------------

interface CompiledArguments {
  readonly positional: (environment: Environment, run: Run) => Value[];
  readonly keywords: (environment: Environment, run: Run) => Keywords;
}

const NO_KEYWORDS: Keywords = new Map();

function compileArguments({ positional, named, list, mapping }: Arguments, frame: Frame): CompiledArguments {
  const first = positional.map((node) => compile(node, frame));
  const rest = list && compile(list, frame);
  const values = named.map(({ name, value }) => ({ name, value: compile(value, frame) }));
  const more = mapping && compile(mapping, frame);
  return {
    positional(environment, run) {
      const args = first.map((evaluate) => evaluate(environment, run));
      return rest === undefined ? args : [...args, ...listOf(rest(environment, run))];
    },
    keywords(environment, run) {
      if (values.length === 0 && more === undefined) return NO_KEYWORDS;
      const keywords = new Map<string, Value>();
      for (const { name, value } of values) keywords.set(name, value(environment, run));
      if (more !== undefined) addMapping(keywords, more(environment, run));
      return keywords;
    },
  };
}

function addMapping(keywords: Map<string, Value>, mapping: Value): void {
  if (!(mapping instanceof Dict))
    raise('TypeError', `argument after ** must be a mapping, not ${typeName(mapping)}`);
  for (const [key, value] of mapping.entries()) {
    if (!isText(key)) raise('TypeError', 'keywords must be strings');
    const name = textOf(key);
    if (keywords.has(name)) raise('TypeError', `got multiple values for keyword argument '${name}'`);
    keywords.set(name, value);
  }
}

// ---- expressions ------------------------------------------------------------------------------------------

export function compile(node: Expression, frame: Frame): Evaluate {
  switch (node.kind) {
    case 'constant': {
      const { value } = node;
      return () => value;
    }
    case 'name':
      return compileName(node.name, frame);
    case 'tuple': {
      const items = node.items.map((item) => compile(item, frame));
      return (environment, run) => new Tuple(items.map((item) => item(environment, run)));
    }
    case 'list': {
      const items = node.items.map((item) => compile(item, frame));
      return (environment, run) => items.map((item) => item(environment, run));
    }
    case 'dict':
      return compileDict(node.items, frame);
    case 'attribute': {
      const object = compile(node.node, frame);
      const { name } = node;
      return (environment, run) => getAttribute(object(environment, run), name);
    }
    case 'item':
      return compileItem(node.node, node.index, frame);
    case 'call':
      return compileCall(node, frame);
    case 'filter':
      return compileFilter(node, frame);
    case 'test':
      return compileTest(node, frame);
    case 'unary':
      return compileUnary(node.operator, compile(node.node, frame));
    case 'binary': {
      const left = compile(node.left, frame);
      const right = compile(node.right, frame);
      const { operator } = node;
      return (environment, run) => binary(operator, left(environment, run), right(environment, run));
    }
    case 'and':
    case 'or':
      return compileLogic(node.kind, compile(node.left, frame), compile(node.right, frame));
    case 'concat': {
      const items = node.items.map((item) => compile(item, frame));
      return (environment, run) => {
        const values = items.map((item) => item(environment, run));
        return values.map(stringOf).join('');
      };
    }
    case 'compare':
      return compileComparison(node, frame);
    case 'condition':
      return compileCondition(node, frame.soft());
  }
}

function compileDict(items: Extract<Expression, { kind: 'dict' }>['items'], frame: Frame): Evaluate {
  const pairs = items.map(({ key, value }) => ({ key: compile(key, frame), value: compile(value, frame) }));
  return (environment, run) => {
    const dict = new Dict();
    for (const { key, value } of pairs) dict.set(key(environment, run), value(environment, run));
    return dict;
  };
}

function compileItem(node: Expression, index: Expression | SliceNode, frame: Frame): Evaluate {
  const object = compile(node, frame);
  if (index.kind !== 'slice') {
    const key = compile(index, frame);
    return (environment, run) => {
      const value = object(environment, run);
      return getItem(value, key(environment, run));
    };
  }
  const part = (one: Expression | undefined): Evaluate =>
    one === undefined ? () => null : compile(one, frame);
  const start = part(index.start);
  const stop = part(index.stop);
  const step = part(index.step);
  return (environment, run) => {
    const value = object(environment, run);
    return getSlice(value, start(environment, run), stop(environment, run), step(environment, run));
  };
}

/** @param caller of a call block: what the macro gets as `caller`. */
export function compileCall({ node, args }: CallNode, frame: Frame, caller?: Evaluate): Evaluate {
  const callee = compile(node, frame);
  const { positional, keywords } = compileArguments(args, frame);
  return (environment, run) => {
    run.step();
    const value = callee(environment, run);
    const values = positional(environment, run);
    const named = keywords(environment, run);
    if (caller === undefined) return callValue(value, values, named);
    if (named.has('caller')) raise('TypeError', "got multiple values for keyword argument 'caller'");
    return callValue(value, values, new Map([...named, ['caller', caller(environment, run)]]));
  };
}

/** @param block the text that a filter block or a set block holds. */
export function compileFilter({ node, name, args }: FilterNode, frame: Frame, block?: Evaluate): Evaluate {
  const filter = FILTERS.get(name);
  if (filter === undefined && !frame.isSoft) raise('TemplateSyntaxError', `No filter named '${name}'.`);
  const isInner = node?.kind === 'filter';
  const value = isInner
    ? compileFilter(node, frame, block)
    : node === undefined
      ? block!
      : compile(node, frame);
  const { positional, keywords } = compileArguments(args, frame);
  if (filter === undefined) return () => raise('TemplateError', `No filter named '${name}' found.`);
  return (environment, run) => {
    const input = value(environment, run);
    run.step();
    return filter(input, positional(environment, run), keywords(environment, run));
  };
}

function compileTest(node: Extract<Expression, { kind: 'test' }>, frame: Frame): Evaluate {
  const test = TESTS.get(node.name);
  if (test === undefined && !frame.isSoft) raise('TemplateSyntaxError', `No test named '${node.name}'.`);
  const value = compile(node.node, frame);
  const { positional, keywords } = compileArguments(node.args, frame);
  if (test === undefined) return () => raise('TemplateError', `No test named '${node.name}' found.`);
  return (environment, run) => {
    const input = value(environment, run);
    return test(input, positional(environment, run), keywords(environment, run));
  };
}

function compileUnary(operator: '+' | '-' | 'not', operand: Evaluate): Evaluate {
  if (operator === 'not') return (environment, run) => !truthy(operand(environment, run));
  const apply = operator === '-' ? negate : positive;
  return (environment, run) => apply(operand(environment, run));
}

function compileLogic(kind: 'and' | 'or', left: Evaluate, right: Evaluate): Evaluate {
  const stopsAt = kind === 'or';
  return (environment, run) => {
    const value = left(environment, run);
    return truthy(value) === stopsAt ? value : right(environment, run);
  };
}

function compileComparison(node: Extract<Expression, { kind: 'compare' }>, frame: Frame): Evaluate {
  const first = compile(node.node, frame);
  const operands = node.operands.map(({ operator, node: one }) => ({
    operator,
    evaluate: compile(one, frame),
  }));
  return (environment, run) => {
    let left = first(environment, run);
    let result: Value = true;
    for (const { operator, evaluate } of operands) {
      const right = evaluate(environment, run);
      result = compare(operator, left, right);
      if (!truthy(result)) return result;
      left = right;
    }
    return result;
  };
}

function compileCondition(node: Extract<Expression, { kind: 'condition' }>, frame: Frame): Evaluate {
  const test = compile(node.test, frame);
  const consequence = compile(node.consequence, frame);
  const otherwise: Evaluate =
    node.else === undefined
      ? () => new Undefined('the inline if-expression evaluated to false and no else section was defined.')
      : compile(node.else, frame);
  return (environment, run) => (truthy(test(environment, run)) ? consequence : otherwise)(environment, run);
}
