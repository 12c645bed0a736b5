/** for: its filter, its loop variable, its else, and its recursion. */
import { compile, compileWrite, type Evaluate, type Frame } from './compileExpressions.js';
import {
  compileAssign,
  compileEnter,
  type Compiler,
  type Execute,
  type Flow,
  insideLoop,
} from './compileScopes.js';
import { raise } from './errors.js';
import { LoopContext } from './loop.js';
import { namesOf, storesName, undeclaredNames } from './names.js';
import type { ForNode, Span } from './nodes.js';
import { type Environment, MISSING, type Output, type Run } from './run.js';
import { Generator, iterate, truthy, type Value } from './values.js';

/** Walks over one iterable; at `depth` of a recursive loop. */
type Walk = (
  environment: Environment,
  run: Run,
  output: Output,
  iterable: Value,
  recursion?: { readonly depth: number; readonly render: (iterable: Value, depth: number) => string },
) => Flow;

export function compileFor(node: ForNode, frame: Frame, compiler: Compiler, span: Span): Execute {
  const iterable = compile(node.iterable, frame);
  if (node.recursive) return compileRecursive(node, frame, compiler, span, iterable);
  const walk = compileWalk(node, frame, frame.inner(), frame.inner(), compiler, span);
  return (environment, run, output) => walk(environment, run, output, iterable(environment, run));
}

function compileRecursive(
  node: ForNode,
  frame: Frame,
  compiler: Compiler,
  span: Span,
  iterable: Evaluate,
): Execute {
  const body = frame.innerFunction();
  const otherwise = body.sibling();
  const walk = compileWalk(node, frame, body, otherwise, compiler, span);
  return (environment, run, output) => {
    const render = (items: Value, depth: number): string => {
      run.step();
      const own: Environment = new Array(body.scope.size).fill(MISSING);
      own[0] = environment;
      const inner: Output = { text: '' };
      walk(own, run, inner, items, { depth, render });
      return inner.text;
    };
    run.write(output, render(iterable(environment, run), 0));
    return 'next';
  };
}

/** @param outer where the iterable's filter is defined. */
function compileWalk(
  node: ForNode,
  outer: Frame,
  body: Frame,
  otherwise: Frame,
  compiler: Compiler,
  span: Span,
): Walk {
  body.isLoop = true;
  const isExtended = node.recursive || undeclaredNames(node.body, ['loop']).has('loop');
  const loopVariable = isExtended ? body.symbols.parameter('loop') : undefined;
  body.symbols.analyseLoopTarget(node);
  body.symbols.analyse(node.body);
  otherwise.symbols.analyse(node.else);
  const filter = node.test && compileLoopFilter(node, outer);
  const isSet = storesName(node.body, 'loop') || namesLoop(node);
  if (isSet) raise('TemplateSyntaxError', "Can't assign to special loop variable in for-loop target");
  const assign = compileAssign(node.target, body);
  const enter = compileEnter(body);
  const execute = insideOfLoop(body, () => compiler.body(node.body, body));
  const enterElse = compileEnter(otherwise);
  const executeElse = compiler.body(node.else, otherwise);
  const writeLoop = loopVariable === undefined ? undefined : compileWrite(loopVariable, body.scope);
  const leave = [...body.symbols.loads.keys()].map((identifier) => compileWrite(identifier, body.scope));
  // A recursive loop is a function of its own; its filter stands outside of it.
  const outside = (environment: Environment): Environment =>
    node.recursive ? (environment[0] as Environment) : environment;
  return (environment, run, output, iterable, recursion) => {
    const items = filter === undefined ? iterable : filter(outside(environment), run, iterable);
    const loop = writeLoop && new LoopContext(items, recursion?.render, recursion?.depth ?? 0);
    const iterator = loop ?? iterate(items);
    let isEmpty = true;
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      run.at = span;
      run.step();
      assign(environment, run, next.value);
      writeLoop?.(environment, loop!.structure);
      enter(environment, run);
      const flow = execute(environment, run, output);
      // As in Python: only an iteration that came to its end keeps the else from being rendered.
      if (flow === 'next') isEmpty = false;
      if (flow === 'break') break;
    }
    for (const write of leave) write(environment, MISSING);
    if (!isEmpty || node.else.length === 0) return 'next';
    enterElse(environment, run);
    return executeElse(environment, run, output);
  };
}

function namesLoop({ target }: ForNode): boolean {
  const isLoop = (one: ForNode['target']): boolean =>
    one.kind === 'name' ? one.name === 'loop' : one.kind === 'targets' && one.items.some(isLoop);
  return isLoop(target);
}

/** break and continue belong to a loop of the same function. */
function insideOfLoop<Result>({ scope }: Frame, make: () => Result): Result {
  const wasInside = insideLoop.has(scope);
  insideLoop.add(scope);
  const result = make();
  if (!wasInside) insideLoop.delete(scope);
  return result;
}

/** `for x in list if test`: lazily, in a function of its own. */
function compileLoopFilter(
  node: ForNode,
  outer: Frame,
): (environment: Environment, run: Run, iterable: Value) => Value {
  const frame = outer.innerFunction();
  frame.symbols.analyseLoopTarget(node);
  namesOf(node.test, frame.symbols.use);
  const enter = compileEnter(frame);
  const assign = compileAssign(node.target, frame);
  const test = compile(node.test!, frame);
  function* filtered(environment: Environment, run: Run, iterable: Value): globalThis.Generator<Value> {
    const own: Environment = new Array(frame.scope.size).fill(MISSING);
    own[0] = environment;
    enter(own, run);
    const iterator = iterate(iterable);
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      run.step();
      assign(own, run, next.value);
      if (truthy(test(own, run))) yield next.value;
    }
  }
  return (environment, run, iterable) => new Generator(filtered(environment, run, iterable));
}
