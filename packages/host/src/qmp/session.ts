import { checkArguments, type QmpCommand, QmpRefusal } from './commands.js';
import type { QmpVersion } from './messages.js';

/** What QEMU says to a client that does not begin with `qmp_capabilities`, or sends it twice. */
const negotiateFirst = "Expecting capabilities negotiation with 'qmp_capabilities'";
const negotiatedAlready = 'Capabilities negotiation is already complete, command ignored';

/** One client's conversation: text in, objects out. Nothing in it is about sockets or machines. */
export interface QmpSession {
  readonly greeting: object;
  readonly negotiated: boolean;
  /** Answers one message; never rejects. */
  answer(text: string): Promise<object>;
}

export function qmpSession(version: QmpVersion, commands: Readonly<Record<string, QmpCommand>>): QmpSession {
  let negotiated = false;

  const negotiation: QmpCommand = {
    parameters: { enable: { type: 'array', optional: true } },
    async run({ enable }) {
      const wanted = (enable as readonly unknown[] | undefined)?.[0];
      if (wanted !== undefined) throw new QmpRefusal(`Capability '${String(wanted)}' not available`);
      negotiated = true;
      return {};
    },
  };

  function find(name: string): QmpCommand {
    if (name === 'qmp_capabilities') {
      if (negotiated) throw new QmpRefusal(negotiatedAlready, 'CommandNotFound');
      return negotiation;
    }
    if (!negotiated) throw new QmpRefusal(negotiateFirst, 'CommandNotFound');
    if (name === 'query-commands') return listing;
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (command === undefined)
      throw new QmpRefusal(`The command ${name} has not been found`, 'CommandNotFound');
    return command;
  }

  const listing: QmpCommand = {
    parameters: {},
    run: async () =>
      ['qmp_capabilities', 'query-commands', ...Object.keys(commands)].map((name) => ({ name })),
  };

  async function run(message: object): Promise<unknown> {
    const { execute, given } = readCommand(message);
    const command = find(execute);
    checkArguments(command.parameters, given);
    return command.run(given);
  }

  return {
    greeting: { QMP: { version, capabilities: [] } },
    get negotiated() {
      return negotiated;
    },
    async answer(text: string) {
      let id = {};
      try {
        const message = parse(text);
        if ('id' in message) id = { id: message.id };
        return { return: await run(message), ...id };
      } catch (error) {
        const errorClass = error instanceof QmpRefusal ? error.errorClass : 'GenericError';
        return {
          error: { class: errorClass, desc: error instanceof Error ? error.message : String(error) },
          ...id,
        };
      }
    },
  };
}

function parse(text: string): { readonly id?: unknown } {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    throw new QmpRefusal('Invalid JSON syntax');
  }
  if (!isObject(message)) throw new QmpRefusal('QMP input must be a JSON object');
  return message;
}

function readCommand(message: object): { execute: string; given: Record<string, unknown> } {
  const members = message as Readonly<Record<string, unknown>>;
  const strange = Object.keys(members).find((name) => !['execute', 'arguments', 'id'].includes(name));
  if (strange !== undefined) throw new QmpRefusal(`QMP input member '${strange}' is unexpected`);
  if (!('execute' in members)) throw new QmpRefusal("QMP input lacks member 'execute'");
  if (typeof members.execute !== 'string')
    throw new QmpRefusal("QMP input member 'execute' must be a string");
  if (!('arguments' in members)) return { execute: members.execute, given: {} };
  if (!isObject(members.arguments)) throw new QmpRefusal("QMP input member 'arguments' must be an object");
  return { execute: members.execute, given: members.arguments };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
