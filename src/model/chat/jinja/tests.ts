/** The tests of jinja2: what may stand behind `is`. */
import { bind, type ParameterNames, positionalOnly } from './calls.js';
import { raise, refuse } from './errors.js';
import { FILTER_NAMES } from './filters/names.js';
import { compare, equal } from './operators.js';
import type { Comparison } from './nodes.js';
import { stringOf } from './printing.js';
import {
  Callable,
  Dict,
  isInt,
  isNumeric,
  isText,
  iteratorOf,
  keyOf,
  type Keywords,
  Markup,
  PyFloat,
  Range,
  Structure,
  textOf,
  Tuple,
  Undefined,
  type Value,
} from './values.js';
import { CLASSES } from './methods/cases.js';
import { binary } from './operators.js';

export type Test = (value: Value, args: readonly Value[], keywords: Keywords) => boolean;

function simple(name: string, test: (value: Value) => boolean): [string, Test] {
  return [
    name,
    (value, args, keywords) => {
      bind(name, [], args, keywords);
      return test(value);
    },
  ];
}

function comparing(operator: Comparison, ...names: readonly string[]): [string, Test][] {
  const test: Test = (value, args, keywords) => {
    positionalOnly(operator, args, keywords, 1, 1);
    return compare(operator, value, args[0]);
  };
  return names.map((name) => [name, test]);
}

function withOne(
  name: string,
  parameter: string,
  test: (value: Value, other: Value) => boolean,
): [string, Test] {
  const parameters: ParameterNames = [parameter];
  return [name, (value, args, keywords) => test(value, bind(name, parameters, args, keywords)[0])];
}

const remainder = (value: Value, by: Value): Value => binary('%', value, by);

function isSequence(value: Value): boolean {
  if (Array.isArray(value) || value instanceof Tuple || value instanceof Dict) return true;
  return isText(value) || value instanceof Range || value instanceof Undefined;
}

function isSame(value: Value, other: Value): boolean {
  if (value === null || typeof value === 'boolean') return value === other;
  const isSmall = typeof value === 'number' && value >= -5 && value <= 256;
  if (isSmall) return value === other;
  const isReference = typeof value === 'object' && !(value instanceof PyFloat);
  if (isReference && (typeof other !== 'object' || value === other)) return value === other;
  if (!equal(value, other)) return false;
  return refuse("'is sameas' of equal values");
}

function isCallable(value: Value): boolean {
  if (value instanceof Callable || value instanceof Undefined) return true;
  return value instanceof Structure && value.attributes['__call__'] !== undefined;
}

function isNameIn(names: () => Iterable<string>): (value: Value) => boolean {
  return (value) => {
    // A list or a dict cannot be looked up, as in Python.
    if (!(value instanceof Undefined)) keyOf(value);
    return isText(value) && [...names()].includes(textOf(value));
  };
}

export const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  simple('defined', (value) => !(value instanceof Undefined)),
  simple('undefined', (value) => value instanceof Undefined),
  simple('none', (value) => value === null),
  simple('boolean', (value) => typeof value === 'boolean'),
  simple('false', (value) => value === false),
  simple('true', (value) => value === true),
  simple('integer', isInt),
  simple('float', (value) => value instanceof PyFloat),
  simple('number', isNumeric),
  simple('string', isText),
  simple('mapping', (value) => value instanceof Dict),
  simple('sequence', isSequence),
  simple('iterable', (value) => iteratorOf(value) !== undefined),
  simple('callable', isCallable),
  simple('escaped', (value) => value instanceof Markup),
  simple('lower', (value) => CLASSES['islower']!(stringOf(value))),
  simple('upper', (value) => CLASSES['isupper']!(stringOf(value))),
  simple('odd', (value) => equal(remainder(value, 2), 1)),
  simple('even', (value) => equal(remainder(value, 2), 0)),
  simple(
    'filter',
    isNameIn(() => FILTER_NAMES),
  ),
  simple(
    'test',
    isNameIn(() => TESTS.keys()),
  ),
  withOne('divisibleby', 'num', (value, by) => equal(remainder(value, by), 0)),
  withOne('sameas', 'other', isSame),
  withOne('in', 'seq', (value, container) => compare('in', value, container)),
  ...comparing('==', '==', 'eq', 'equalto'),
  ...comparing('!=', '!=', 'ne'),
  ...comparing('>', '>', 'gt', 'greaterthan'),
  ...comparing('>=', '>=', 'ge'),
  ...comparing('<', '<', 'lt', 'lessthan'),
  ...comparing('<=', '<=', 'le'),
]);

/** @throws PythonError when there is no such test. */
export function testNamed(name: Value): Test {
  const test = typeof name === 'string' ? TESTS.get(name) : undefined;
  return test ?? raise('TemplateError', `No test named ${stringOf(name)}.`);
}
