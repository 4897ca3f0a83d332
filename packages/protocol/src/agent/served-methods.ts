import {
  create,
  type DescMethodUnary,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { MalformedError, VouchsafeError } from '@vouchsafe/sev';

/** One method of a service, without its transport: gRPC and ttrpc carry the same bytes. */
export interface ServedMethod {
  /** With its package: `api.GetResourceService`. */
  readonly service: string;
  /** As it travels: `GetResource`. */
  readonly method: string;
  /**
   * Answers a request; both are protobuf.
   * @throws MalformedError for bytes that are not the method's message, and whatever the method throws
   */
  call(request: Uint8Array): Promise<Uint8Array>;
}

type UnaryMethods<S extends DescService> = {
  [K in keyof S['method']]: S['method'][K] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>) => Promise<MessageInitShape<O>>
    : never;
};

/**
 * The methods of a service with what answers them.
 */
export function serveMethods<S extends DescService>(service: S, answers: UnaryMethods<S>): ServedMethod[] {
  return service.methods.map(({ name, localName, input, output }) => {
    const answer = answers[localName as keyof S['method']] as (
      request: unknown,
    ) => Promise<MessageInitShape<typeof output>>;
    return {
      service: service.typeName,
      method: name,
      async call(bytes) {
        const reply = await answer(read(`${service.typeName}.${name}`, () => fromBinary(input, bytes)));
        return toBinary(output, create(output, reply));
      },
    };
  });
}

function read<T>(structure: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof VouchsafeError) throw error;
    // The cause is left out: it may quote what was sent.
    throw new MalformedError({
      structure,
      field: '/',
      offset: 0,
      expected: 'protobuf of the request',
      found: 'bytes that are none',
    });
  }
}
