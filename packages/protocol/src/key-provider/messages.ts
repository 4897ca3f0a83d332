import { fromBase64, InvalidArgumentError, MalformedError, openSecret, Secret } from '@vouchsafe/sev';
import { z } from 'zod';
import { message } from '../message.js';

/**
 * What container tools (containers/ocicrypt and ocicrypt-rs) and a key provider say to each other: JSON, over gRPC, ttrpc
 * or the pipes of a command. Go writes bytes as base64, Rust as lists of numbers; both are read. Answers are lists of
 * numbers, which both kinds of client read.
 */

/** Longest request, in bytes. */
export const largestKeyProviderRequest = 512 * 1024;
/** Longest options and packets, in bytes. */
const largestMember = 64 * 1024;

const anObject = { error: 'expected an object' };
const bytesError = `expected 1 to ${largestMember} bytes, as base64 or as a list of numbers`;
const bytes = z.codec(
  z.union([z.string(), z.array(z.unknown())], { error: bytesError }),
  z.instanceof(Uint8Array<ArrayBufferLike>, { error: bytesError }),
  {
    decode(value, context) {
      const read = typeof value === 'string' ? ofBase64(value) : ofList(value);
      if (read !== undefined && read.length >= 1 && read.length <= largestMember) return read;
      context.issues.push({ code: 'custom', input: value, message: bytesError });
      return z.NEVER;
    },
    encode: (value) => [...value],
  },
);

/** Parameters of each provider that the user named: base64 of text. */
const parameters = z
  .object(
    { Parameters: z.record(z.string(), z.array(bytes, { error: 'expected a list' }), anObject).nullish() },
    anObject,
  )
  .nullish();

/** What a container tool asks; the half that does not belong to the operation is empty or absent. */
export const keyProviderInput = message(
  'key provider request',
  z.discriminatedUnion(
    'op',
    [
      z.object({
        op: z.literal('keywrap'),
        keywrapparams: z.object({ ec: parameters, optsdata: bytes }, anObject),
      }),
      z.object({
        op: z.literal('keyunwrap'),
        keyunwrapparams: z.object({ dc: parameters, annotation: bytes }, anObject),
      }),
    ],
    { error: 'expected "keywrap" or "keyunwrap"' },
  ),
);

/** What a key provider answers. */
export const keyProviderOutput = message(
  'key provider answer',
  z.union(
    [
      z.object({ keywrapresults: z.object({ annotation: bytes }, anObject) }, anObject),
      z.object({ keyunwrapresults: z.object({ optsdata: bytes }, anObject) }, anObject),
    ],
    { error: 'expected keywrapresults or keyunwrapresults' },
  ),
);

export type KeyProviderRequest =
  | {
      readonly operation: 'wrap';
      /** Everything that stands behind `provider:NAME:` on the tool's command line, of all providers named. */
      readonly parameters: readonly string[];
      /** The layer's private options, for the caller to zero. */
      readonly layerOptions: Secret;
    }
  | {
      readonly operation: 'unwrap';
      readonly parameters: readonly string[];
      /** The provider's own packet, as it stands in the image. */
      readonly annotation: Uint8Array;
    };

/** Reads a request. Under which name the tool knows the provider does not matter. @throws MalformedError */
export function parseKeyProviderRequest(json: Uint8Array): KeyProviderRequest {
  if (json.length > largestKeyProviderRequest) {
    throw new MalformedError({
      structure: keyProviderInput.name,
      field: '/',
      offset: 0,
      expected: `at most ${largestKeyProviderRequest} bytes`,
      found: `${json.length}`,
    });
  }
  const input = keyProviderInput.parseBytes(json);
  if (input.op === 'keyunwrap') {
    const { dc, annotation } = input.keyunwrapparams;
    return { operation: 'unwrap', parameters: textsOf(dc?.Parameters), annotation };
  }
  const { ec, optsdata } = input.keywrapparams;
  return {
    operation: 'wrap',
    parameters: textsOf(ec?.Parameters),
    layerOptions: Secret.take(optsdata),
  };
}

/** The answer to a request to wrap. */
export function keyWrapAnswer(annotation: Uint8Array): Uint8Array {
  return answerText(keyProviderOutput.toJson({ keywrapresults: { annotation } }));
}

/** The answer to a request to unwrap: it holds the layer's key in plain text. */
export function keyUnwrapAnswer(layerOptions: Secret): Uint8Array {
  return answerText(keyProviderOutput.toJson({ keyunwrapresults: { optsdata: openSecret(layerOptions) } }));
}

const answerText = (json: unknown) => new TextEncoder().encode(JSON.stringify(json));

function textsOf(lists: Readonly<Record<string, readonly Uint8Array[]>> | null | undefined): string[] {
  return Object.values(lists ?? {}).flatMap((list) => list.map((text) => new TextDecoder().decode(text)));
}

function ofBase64(text: string): Uint8Array | undefined {
  try {
    return fromBase64(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

function ofList(list: readonly unknown[]): Uint8Array | undefined {
  const isByte = (item: unknown): item is number => typeof item === 'number' && (item & 0xff) === item;
  return list.length <= largestMember && list.every(isByte) ? Uint8Array.from(list) : undefined;
}
