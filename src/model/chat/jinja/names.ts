/** Names in a syntax tree, in the order in which jinja2 visits them. */
import type { Arguments, Expression, Parameter, SliceNode, Statement, Target } from './nodes.js';

export type Use = 'load' | 'store' | 'parameter';
/** Called for each name; true ends the walk. */
type OnName = (name: string, use: Use) => void;

export function namesOfTarget(target: Target, onName: OnName, use: Use = 'store'): void {
  if (target.kind === 'name') onName(target.name, use);
  else if (target.kind === 'targets') for (const item of target.items) namesOfTarget(item, onName, use);
}

function namesOfArguments({ positional, named, list, mapping }: Arguments, onName: OnName): void {
  for (const node of positional) namesOf(node, onName);
  for (const { value } of named) namesOf(value, onName);
  namesOf(list, onName);
  namesOf(mapping, onName);
}

export function namesOf(node: Expression | SliceNode | undefined, onName: OnName): void {
  const all = (...nodes: readonly (Expression | SliceNode | undefined)[]): void => {
    for (const one of nodes) namesOf(one, onName);
  };
  switch (node?.kind) {
    case undefined:
    case 'constant':
      return;
    case 'name':
      onName(node.name, 'load');
      return;
    case 'tuple':
    case 'list':
    case 'concat':
      all(...node.items);
      return;
    case 'dict':
      all(...node.items.flatMap(({ key, value }) => [key, value]));
      return;
    case 'attribute':
    case 'unary':
      all(node.node);
      return;
    case 'item':
      all(node.node, node.index);
      return;
    case 'slice':
      all(node.start, node.stop, node.step);
      return;
    case 'call':
    case 'filter':
    case 'test':
      all(node.node);
      namesOfArguments(node.args, onName);
      return;
    case 'binary':
    case 'and':
    case 'or':
      all(node.left, node.right);
      return;
    case 'compare':
      all(node.node, ...node.operands.map((operand) => operand.node));
      return;
    case 'condition':
      all(node.test, node.consequence, node.else);
      return;
  }
}

function namesOfParameters(parameters: readonly Parameter[], onName: OnName): void {
  for (const { name } of parameters) onName(name, 'parameter');
  for (const parameter of parameters) namesOf(parameter.default, onName);
}

/** With all that is inside, except for blocks. */
function namesOfStatement(node: Statement, onName: OnName): void {
  const bodies = (...lists: readonly (readonly Statement[])[]): void => {
    for (const statement of lists.flat()) namesOfStatement(statement, onName);
  };
  switch (node.kind) {
    case 'output':
      for (const one of node.nodes) namesOf(one, onName);
      return;
    case 'set':
      namesOfTarget(node.target, onName);
      namesOf(node.value, onName);
      return;
    case 'set block':
      namesOfTarget(node.target, onName);
      namesOf(node.filter, onName);
      bodies(node.body);
      return;
    case 'for':
      namesOfTarget(node.target, onName);
      namesOf(node.iterable, onName);
      bodies(node.body, node.else);
      namesOf(node.test, onName);
      return;
    case 'if':
      namesOf(node.test, onName);
      bodies(
        node.body,
        node.elifs.map((one) => ({ ...one, span: node.span })),
        node.else,
      );
      return;
    case 'macro':
      namesOfParameters(node.parameters, onName);
      bodies(node.body);
      return;
    case 'call block':
      namesOf(node.call, onName);
      namesOfParameters(node.parameters, onName);
      bodies(node.body);
      return;
    case 'generation':
      bodies(node.body);
      return;
    case 'filter block':
      bodies(node.body);
      namesOf(node.filter, onName);
      return;
    case 'with':
      for (const target of node.targets) namesOfTarget(target, onName, 'parameter');
      for (const value of node.values) namesOf(value, onName);
      bodies(node.body);
      return;
    default:
      return;
  }
}

/** Which of the names are used before something is assigned to them. */
export function undeclaredNames(body: readonly Statement[], names: readonly string[]): Set<string> {
  const wanted = new Set(names);
  const found = new Set<string>();
  for (const statement of body)
    namesOfStatement(statement, (name, use) => {
      if (use === 'load' && wanted.has(name)) found.add(name);
      else wanted.delete(name);
    });
  return found;
}

export function storesName(body: readonly Statement[], wanted: string): boolean {
  let isStored = false;
  for (const statement of body)
    namesOfStatement(statement, (name, use) => {
      isStored ||= use === 'store' && name === wanted;
    });
  return isStored;
}
