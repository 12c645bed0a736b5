/** One expression or number, evaluated. Arithmetic, parsing and units are mathjs'. */
import { createRequire } from 'node:module';

import type { MathNode } from 'mathjs';

type MathJs = import('mathjs').MathJsInstance;
type Fraction = import('mathjs').Fraction;

/** Its size in SI and its dimensions. */
export interface Unit {
  readonly factor: number;
  readonly dimensions: string;
}

export interface NumberValue {
  readonly kind: 'number';
  /** Undefined where the number is not known to be rational. */
  readonly exact: Fraction | undefined;
  readonly value: number;
  readonly percent: boolean;
  readonly unit: Unit | undefined;
}

export interface ExpressionValue {
  readonly kind: 'expression';
  /** At POINTS. */
  readonly values: readonly number[];
  /** Names, sorted. */
  readonly variables: string;
  /** What `5 m` is if m is no variable. */
  readonly quantity?: NumberValue;
}

const FUNCTIONS = ['sqrt', 'cbrt', 'nthRoot', 'sin', 'cos', 'tan', 'log', 'exp', 'abs'];
const CONSTANTS = ['pi', 'e', 'i'];
const INFINITY = 'Infinity';
const OPERATORS = ['+', '-', '*', '/', '^'];
/** Where expressions are compared: no special points. */
const POINTS = [0.7310585786, 1.6487212707, 2.2360679775];
/** Variables after the first are these shares larger, so that x·y and x² differ. */
const VARIABLE_STEP = 0.37;
/** Larger powers are not raised in exact arithmetic. */
const MAX_EXACT_POWER = 64;

let loaded: { readonly exact: MathJs; readonly real: MathJs } | undefined;
/** mathjs takes most of a second to load: only this reward pays for it. */
export function mathjs(): { readonly exact: MathJs; readonly real: MathJs } {
  if (!loaded) {
    const { create, all } = createRequire(import.meta.url)('mathjs') as typeof import('mathjs');
    loaded = { exact: create(all!, { number: 'Fraction' }), real: create(all!) };
  }
  return loaded;
}

interface Verdict {
  /** Only arithmetic: what a model wrote may be evaluated. */
  readonly safe: boolean;
  /** Small in exact arithmetic too: no power of a power, no function. */
  readonly exact: boolean;
  readonly variables: ReadonlySet<string>;
}

/** The fields of mathjs' nodes that are read here. */
interface Node {
  readonly type: string;
  readonly name?: string;
  readonly op?: string;
  readonly fn?: { readonly name?: string };
  readonly args?: readonly MathNode[];
}
const asNode = (node: unknown): Node | null => node as Node | null;

function inspect(root: MathNode): Verdict {
  let safe = true;
  let exact = true;
  const variables = new Set<string>();
  root.traverse((mathNode, path, parent) => {
    const node = asNode(mathNode)!;
    switch (node.type) {
      case 'ConstantNode':
      case 'ParenthesisNode':
        break;
      case 'OperatorNode':
        if (!OPERATORS.includes(node.op!)) safe = false;
        if (node.op === '^' && !isSmallPower(node)) exact = false;
        break;
      case 'FunctionNode':
        if (!FUNCTIONS.includes(node.fn?.name ?? '')) safe = false;
        exact = false;
        break;
      case 'SymbolNode': {
        const namesFunction = asNode(parent)?.type === 'FunctionNode' && path === 'fn';
        if (namesFunction) break;
        if (CONSTANTS.includes(node.name!) || node.name === INFINITY) exact = false;
        else if (/^[a-z](?:_\w+)?$/i.test(node.name!)) variables.add(node.name!);
        else safe = false;
        break;
      }
      default:
        safe = false;
    }
  });
  return { safe, exact, variables };
}

function isSmallPower({ args }: Node): boolean {
  const [base, exponent] = args as readonly [MathNode, MathNode];
  const power = Number(exponent.toString());
  const hasPowerInside = base.filter((inner) => asNode(inner)?.op === '^').length > 0;
  return Number.isInteger(power) && Math.abs(power) <= MAX_EXACT_POWER && !hasPowerInside;
}

/** Undefined for words that are no unit. */
export function unitOf(words: string): Unit | undefined {
  const { real } = mathjs();
  try {
    const unit = real.unit(1, words.replace(/\bper\b/g, '/'));
    const si = unit.toSI();
    return {
      factor: si.toNumeric(si.formatUnits()) as number,
      dimensions: (unit as unknown as { dimensions: number[] }).dimensions.join(),
    };
  } catch {
    return undefined;
  }
}

function numberValue(exact: Fraction | undefined, value: number): NumberValue | undefined {
  if (Number.isNaN(value)) return undefined;
  return { kind: 'number', exact, value, percent: false, unit: undefined };
}

/** Two letters side by side are a product, as on paper. */
function spaced(text: string): string {
  const names = [...FUNCTIONS, ...CONSTANTS, INFINITY];
  return text.replace(/[a-z]{2,}/gi, (word) => {
    const isProduct = word.length === 2 && !names.includes(word);
    return isProduct ? [...word].join(' ') : word;
  });
}

/** @returns undefined for what is no arithmetic. */
export function evaluate(text: string): NumberValue | ExpressionValue | undefined {
  const isDecimal = /^[-+]?(?:\d+\.?\d*|\.\d+)$/.test(text);
  if (isDecimal) {
    const digits = text.replace(/^\+/, '').replace(/\.$/, '');
    return numberValue(mathjs().exact.fraction(digits), Number(text));
  }
  try {
    return evaluateNode(spaced(text));
  } catch {
    return undefined;
  }
}

function evaluateNode(text: string): NumberValue | ExpressionValue | undefined {
  const { exact: exactMath, real } = mathjs();
  const node = real.parse(text);
  const { safe, exact, variables } = inspect(node);
  if (!safe) return undefined;
  if (variables.size > 0) return evaluateAtPoints(node, [...variables].sort());
  const value = node.evaluate() as unknown;
  if (typeof value !== 'number') return undefined;
  const isHuge = /\de[-+]?\d{3}/i.test(text);
  const isRational = exact && !isHuge && Number.isFinite(value);
  return numberValue(isRational ? (exactMath.parse(text).evaluate() as Fraction) : undefined, value);
}

function evaluateAtPoints(node: MathNode, names: readonly string[]): ExpressionValue | undefined {
  const values = POINTS.map((point) => {
    const scope = names.map((name, i) => [name, point * (1 + VARIABLE_STEP * i)]);
    return node.evaluate(Object.fromEntries(scope)) as unknown;
  });
  if (!values.every((value) => typeof value === 'number')) return undefined;
  return { kind: 'expression', values, variables: names.join() };
}
