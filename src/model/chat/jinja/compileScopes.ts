/** What loops, macros and the other statements share: scopes, assignments, and how a statement ends. */
import { compileRead, compileWrite, type Frame } from './compileExpressions.js';
import { raise } from './errors.js';
import type { Statement, Target } from './nodes.js';
import { type Environment, MISSING, type Output, type Run } from './run.js';
import { listOf, type Namespace, typeName, type Value } from './values.js';

/** How a statement ended. */
export type Flow = 'next' | 'break' | 'continue';
export type Execute = (environment: Environment, run: Run, output: Output) => Flow;

/** Compiles bodies; handed down, since statements hold statements. */
export interface Compiler {
  body(body: readonly Statement[], frame: Frame): Execute;
  /** The body of a block: with variables of its own. */
  block(name: string, body: readonly Statement[]): Execute;
}

/** Gives the variables of a scope what they hold at its beginning. */
export function compileEnter(frame: Frame): (environment: Environment, run: Run) => void {
  const steps = [...frame.symbols.loads].flatMap(([identifier, load]) => {
    if (load.kind === 'parameter') return [];
    const write = compileWrite(identifier, frame.scope);
    if (load.kind === 'undefined') return [(environment: Environment) => write(environment, MISSING)];
    if (load.kind === 'resolve') {
      const { name } = load;
      return [(environment: Environment, run: Run) => write(environment, run.resolve(name))];
    }
    const read = compileRead(load.of, frame.scope);
    return [(environment: Environment, run: Run) => write(environment, read(environment, run))];
  });
  return (environment, run) => {
    for (const step of steps) step(environment, run);
  };
}

/** Functions whose statements are being compiled inside one of their loops. */
export const insideLoop = new WeakSet<object>();

type Assign = (environment: Environment, run: Run, value: Value) => void;

export function compileAssign(target: Target, frame: Frame): Assign {
  if (target.kind === 'targets') return compileUnpack(target.items, frame);
  const write =
    target.kind === 'name' ? compileWrite(frame.symbols.ref(target.name), frame.scope) : undefined;
  if (target.kind === 'name') {
    const { name } = target;
    if (!frame.isTop || frame.isLoop) return (environment, _run, value) => write!(environment, value);
    return (environment, run, value) => {
      write!(environment, value);
      run.set.set(name, value);
    };
  }
  const read = compileRead(frame.symbols.ref(target.name), frame.scope);
  const { attribute } = target;
  return (environment, run, value) => {
    const namespace = read(environment, run) as Namespace;
    if (attribute.startsWith('_'))
      raise('SecurityError', `a namespace has no attributes that begin with an underscore: '${attribute}'`);
    namespace.values.set(attribute, value);
  };
}

function compileUnpack(items: readonly Target[], frame: Frame): Assign {
  const assigns = items.map((item) => compileAssign(item, frame));
  return (environment, run, value) => {
    const values = listOf(value);
    if (values.length !== assigns.length)
      raise(
        'ValueError',
        `expected ${assigns.length} values to unpack, got ${values.length} in a ${typeName(value)}`,
      );
    assigns.forEach((assign, i) => assign(environment, run, values[i]));
  };
}
