/**
 * Chat templates of Hugging Face directories, rendered as transformers' apply_chat_template does: its message
 * preparation (messages.ts), and templates with the semantics of Python (jinja/).
 */
import { fail } from '../../errors.js';
import { compileTemplate, type Render, TemplateProblem } from './jinja/template.js';
import { checkFinalMessage, continued, prepareMessages } from './messages.js';

/**
 * A turn of a conversation, in OpenAI's format; the chat template decides which roles and further keys it
 * knows. A turn that only calls tools has no content.
 */
export interface ChatMessage {
  readonly role: string;
  readonly content?: unknown;
  readonly [key: string]: unknown;
}

/** How a chat template writes messages (transformers' apply_chat_template). */
export interface ChatOptions {
  /** End with what begins the assistant's turn. Default false. */
  readonly addGenerationPrompt?: boolean;
  /**
   * End inside the last message, so that a model goes on with it. A string names the field to go on with, by
   * default content. Default false.
   */
  readonly continueFinalMessage?: boolean | string;
  /** Tools as JSON schemas; the template named tool_use is taken, where there are several. */
  readonly tools?: readonly object[] | null;
  /** Documents for templates that know them. */
  readonly documents?: readonly object[] | null;
  /** Further variables of the template (e.g. enable_thinking). */
  readonly kwargs?: Readonly<Record<string, unknown>>;
}

/** A conversation as text. */
export interface RenderedChat {
  readonly text: string;
  /** What the assistant says, as {% generation %} marks it: begin and end in `text`, for masks. */
  readonly generated: readonly (readonly [begin: number, end: number])[];
}

/** Text in a chat's form; its special tokens are written out. */
export type ChatTemplate = (messages: readonly ChatMessage[], options?: ChatOptions) => RenderedChat;

export const isChat = (value: unknown): value is readonly ChatMessage[] =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((item) => typeof (item as ChatMessage | null)?.role === 'string');

/** A special token in tokenizer_config.json: its text, alone or in an object. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

/** The templates of a tokenizer: one, or several by name. */
type Templates = string | ReadonlyMap<string, string>;

function templatesOf(stored: unknown): Templates | undefined {
  if (typeof stored === 'string') return stored;
  if (typeof stored !== 'object' || stored === null) return undefined;
  const entries: readonly (readonly [unknown, unknown])[] = Array.isArray(stored)
    ? (stored as readonly { readonly name?: unknown; readonly template?: unknown }[]).map(
        ({ name, template }) => [name, template] as const,
      )
    : Object.entries(stored);
  const named = entries.flatMap(([name, template]) =>
    typeof name === 'string' && typeof template === 'string' ? [[name, template] as const] : [],
  );
  return named.length === 0 ? undefined : new Map(named);
}

function chosenTemplate(path: string, templates: Templates, hasTools: boolean): string {
  if (typeof templates === 'string') return templates;
  const chosen = (hasTools ? templates.get('tool_use') : undefined) ?? templates.get('default');
  return (
    chosen ??
    fail(
      'ERR_UNSUPPORTED',
      `chat template of ${path}: there are several templates (${[...templates.keys()].join(', ')}), and none is ` +
        "named 'default'; name the one to use so",
    )
  );
}

/** Special tokens as variables: bos_token and its kin. */
function specialTokens(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const extra = config['extra_special_tokens'];
  const isNamed = typeof extra === 'object' && extra !== null && !Array.isArray(extra);
  const own = Object.entries(config).filter(([key]) => key.endsWith('_token'));
  const all = [...own, ...(isNamed ? Object.entries(extra) : [])];
  const known = all.flatMap(([key, value]) => {
    const token = tokenText(value);
    return token === undefined ? [] : [[key, token] as const];
  });
  return Object.fromEntries(known);
}

/** The options of apply_chat_template may stand among the template's variables, as they do in Python. */
function withKwargs({ kwargs = {}, ...options }: ChatOptions): Required<ChatOptions> {
  const { tools, documents, add_generation_prompt, continue_final_message, ...variables } = kwargs;
  return {
    tools: options.tools ?? (tools as ChatOptions['tools']) ?? null,
    documents: options.documents ?? (documents as ChatOptions['documents']) ?? null,
    addGenerationPrompt:
      options.addGenerationPrompt ?? (add_generation_prompt as boolean | undefined) ?? false,
    continueFinalMessage:
      options.continueFinalMessage ?? (continue_final_message as boolean | string | undefined) ?? false,
    kwargs: variables,
  };
}

const isListOfObjects = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.every((item) => typeof item === 'object' && item !== null && !Array.isArray(item));

function checkOptions({
  tools,
  documents,
  addGenerationPrompt,
  continueFinalMessage,
  kwargs,
}: Required<ChatOptions>): void {
  const refused = (what: string): never => fail('ERR_INVALID_ARG', `chat template: ${what}`);
  if (tools !== null && !isListOfObjects(tools)) refused('tools must be an array of JSON schemas');
  if (documents !== null && !isListOfObjects(documents)) refused('documents must be an array of objects');
  if (Object.hasOwn(kwargs, 'messages')) refused("'messages' cannot be one of the template's variables");
  if (continueFinalMessage !== false && addGenerationPrompt)
    refused(
      'continueFinalMessage and addGenerationPrompt exclude each other: go on with a message, or begin one',
    );
}

/**
 * @param tokenizerConfig tokenizer_config.json: special tokens, and the template unless a file of its own
 * (`stored`) has it.
 * @returns undefined when the directory has no template.
 * @throws ERR_UNSUPPORTED when the template cannot be rendered as Python does, naming the expression.
 */
export function createChatTemplate(
  path: string,
  tokenizerConfig: Readonly<Record<string, unknown>>,
  stored?: unknown,
): ChatTemplate | undefined {
  const templates = templatesOf(stored) ?? templatesOf(tokenizerConfig['chat_template']);
  if (templates === undefined) return undefined;
  const compiled = new Map<string, Render>();
  const specials = specialTokens(tokenizerConfig);
  return (messages, given = {}) => {
    if (!isChat(messages))
      fail(
        'ERR_INVALID_ARG',
        'chat template: messages must be a non-empty array of { role, … }, got ' +
          `${JSON.stringify(messages)?.slice(0, 80)}`,
      );
    const options = withKwargs(given);
    checkOptions(options);
    const { tools, documents, addGenerationPrompt, continueFinalMessage, kwargs } = options;
    const text = chosenTemplate(path, templates, tools !== null);
    const render = (variables: object): RenderedChat => {
      let compiledTemplate = compiled.get(text);
      if (compiledTemplate === undefined) {
        compiledTemplate = compileTemplate(text);
        compiled.set(text, compiledTemplate);
      }
      return compiledTemplate({
        ...specials,
        ...kwargs,
        ...variables,
        tools,
        documents,
        add_generation_prompt: addGenerationPrompt,
      });
    };
    try {
      const prepared = prepareMessages(messages);
      if (continueFinalMessage === false) return render({ messages: prepared });
      const field = continueFinalMessage === true ? 'content' : continueFinalMessage;
      const final = checkFinalMessage(prepared, field, text);
      return continued(render({ messages: final.messages }), final.text);
    } catch (error) {
      if (!(error instanceof TemplateProblem)) throw error;
      return fail(
        'ERR_UNSUPPORTED',
        `chat template of ${path}: ${error.message}; give prompts as text, or mend the template or the messages`,
        error,
      );
    }
  };
}
