import type { QmpErrorClass } from './messages.js';

/** Thrown by a command of our server: it becomes the error object of the answer. */
export class QmpRefusal extends Error {
  readonly errorClass: QmpErrorClass;

  constructor(description: string, errorClass: QmpErrorClass = 'GenericError') {
    super(description);
    this.errorClass = errorClass;
  }
}

/** Types of arguments as QAPI names them. */
export type ParameterType = 'string' | 'uint64' | 'array';

export interface Parameter {
  readonly type: ParameterType;
  readonly optional?: boolean;
}

type ArgumentOf<P extends Parameter> =
  | (P['type'] extends 'string' ? string : P['type'] extends 'uint64' ? number : readonly unknown[])
  | (P extends { readonly optional: true } ? undefined : never);
type ArgumentsOf<P extends Record<string, Parameter>> = { readonly [K in keyof P]: ArgumentOf<P[K]> };

export interface QmpCommand {
  readonly parameters: Readonly<Record<string, Parameter>>;
  run(given: Readonly<Record<string, unknown>>): Promise<unknown>;
}

/** Declares a command; `run` gets its arguments checked, by the types of their declarations. */
export function qmpCommand<const P extends Record<string, Parameter>>(
  parameters: P,
  run: (given: ArgumentsOf<P>) => unknown,
): QmpCommand {
  return { parameters, run: async (given) => (await run(given as ArgumentsOf<P>)) ?? {} };
}

/**
 * Holds arguments against their declaration, with the words that QEMU's QAPI visitors use.
 * @throws QmpRefusal
 */
export function checkArguments(
  parameters: Readonly<Record<string, Parameter>>,
  given: Readonly<Record<string, unknown>>,
): void {
  for (const [name, { type, optional }] of Object.entries(parameters)) {
    const value = given[name];
    if (value === undefined) {
      if (!optional) throw new QmpRefusal(`Parameter '${name}' is missing`);
    } else if (type === 'uint64') {
      if (!Number.isInteger(value)) throw new QmpRefusal(`Parameter '${name}' expects uint64`);
    } else if (type === 'array' ? !Array.isArray(value) : typeof value !== type) {
      throw new QmpRefusal(`Invalid parameter type for '${name}', expected: ${type}`);
    }
  }
  const strange = Object.keys(given).find((name) => !Object.hasOwn(parameters, name));
  if (strange !== undefined) throw new QmpRefusal(`Parameter '${strange}' is unexpected`);
}
