/** Macros, and the bodies of call blocks, which are macros without a name. */
import { compile, compileWrite, type Evaluate, type Frame } from './compileExpressions.js';
import { compileEnter, type Compiler } from './compileScopes.js';
import { raise } from './errors.js';
import { undeclaredNames } from './names.js';
import type { Parameter, Statement } from './nodes.js';
import { type Environment, MISSING, type Output, type Run } from './run.js';
import { Callable, Dict, type Keywords, Tuple, Undefined, type Value } from './values.js';

interface Signature {
  readonly parameters: readonly Parameter[];
  readonly body: readonly Statement[];
}

/** Which of the special variables a macro's body uses. */
interface Specials {
  readonly caller: boolean;
  readonly kwargs: boolean;
  readonly varargs: boolean;
}

/** @returns what makes the macro where its tag is rendered. */
export function compileMacro(
  { parameters, body }: Signature,
  outer: Frame,
  compiler: Compiler,
  name: string | undefined,
): (environment: Environment, run: Run) => Callable {
  const frame = outer.innerFunction();
  const { symbols } = frame;
  symbols.analyseParameters(parameters);
  symbols.analyse(body);
  const used = undeclaredNames(body, ['caller', 'kwargs', 'varargs']);
  const names = parameters.map((parameter) => parameter.name);
  const explicitCaller = parameters.find((parameter) => parameter.name === 'caller');
  if (used.has('caller') && explicitCaller !== undefined && explicitCaller.default === undefined)
    raise('TemplateSyntaxError', 'the special "caller" argument must be omitted or be given a default');
  const specials: Specials = {
    caller: used.has('caller'),
    kwargs: used.has('kwargs') && !names.includes('kwargs'),
    varargs: used.has('varargs') && !names.includes('varargs'),
  };
  const identifiers = names.map((one) => symbols.ref(one));
  if (specials.caller && explicitCaller === undefined) identifiers.push(symbols.parameter('caller'));
  if (specials.kwargs) identifiers.push(symbols.parameter('kwargs'));
  if (specials.varargs) identifiers.push(symbols.parameter('varargs'));
  const writes = identifiers.map((identifier) => compileWrite(identifier, frame.scope));
  const enter = compileEnter(frame);
  const defaults = parameters.map((parameter) => compileDefault(parameter, frame));
  const execute = compiler.body(body, frame);
  return (environment, run) =>
    new Callable(name ?? 'caller', (args, keywords) => {
      const values = bindMacro(name ?? 'caller', names, specials, args, keywords);
      const own: Environment = new Array(frame.scope.size).fill(MISSING);
      own[0] = environment;
      run.step();
      writes.forEach((write, i) => write(own, values[i]));
      enter(own, run);
      parameters.forEach((_, i) => {
        if (values[i] === MISSING) writes[i]!(own, defaults[i]!(own, run));
      });
      const output: Output = { text: '' };
      execute(own, run, output);
      return output.text;
    });
}

function compileDefault(parameter: Parameter, frame: Frame): Evaluate {
  if (parameter.default !== undefined) return compile(parameter.default, frame);
  return () => new Undefined(`parameter '${parameter.name}' was not provided`);
}

/** The values of a macro's parameters and of its special variables; MISSING where a default is meant. */
function bindMacro(
  name: string,
  names: readonly string[],
  specials: Specials,
  args: readonly Value[],
  keywords: Keywords,
): Value[] {
  const rest = new Map(keywords);
  const take = (key: string): Value => {
    const value = rest.get(key);
    rest.delete(key);
    return value === undefined ? MISSING : value;
  };
  const given = args.slice(0, names.length);
  const values = [...given, ...names.slice(given.length).map(take)];
  if (specials.caller && !names.includes('caller')) {
    const caller = take('caller');
    const isGiven = caller !== MISSING && caller !== null;
    values.push(isGiven ? caller : new Undefined('No caller defined'));
  }
  if (specials.kwargs) values.push(Dict.of(rest));
  else if (rest.size > 0)
    raise('TypeError', `macro '${name}' takes no keyword argument '${[...rest.keys()][0]}'`);
  if (specials.varargs) values.push(new Tuple(args.slice(names.length)));
  else if (args.length > names.length)
    raise('TypeError', `macro '${name}' takes not more than ${names.length} argument(s)`);
  return values;
}
