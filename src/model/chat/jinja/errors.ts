/**
 * The two ways in which a template does not render: Python raises too, or we do not know what Python writes.
 */

/** Exceptions of Python and of jinja2 that code of a template can tell apart. */
export type PythonErrorType =
  | 'AttributeError'
  | 'IndexError'
  | 'KeyError'
  | 'OverflowError'
  | 'SecurityError'
  | 'TemplateError'
  | 'TemplateSyntaxError'
  | 'TypeError'
  | 'UndefinedError'
  | 'ValueError'
  | 'ZeroDivisionError';

/** What Python raises at this place as well. */
export class PythonError extends Error {
  constructor(
    readonly type: PythonErrorType,
    message: string,
  ) {
    super(message);
  }
}

/** Python renders something here that we do not: an error instead of a guess. */
export class Refusal extends Error {}

export function raise(type: PythonErrorType, message: string): never {
  throw new PythonError(type, message);
}

export function refuse(what: string): never {
  throw new Refusal(`${what} is not supported: it cannot be rendered as Python does`);
}
