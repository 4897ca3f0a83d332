import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { concat, MalformedError, structure, u8, u32be } from '@vouchsafe/sev';
import { RequestSchema, ResponseSchema } from './generated/ttrpc_pb.js';
import type { RpcFailure } from './status-codes.js';

/**
 * ttrpc, containerd's remote procedure calls for small machines: frames over a unix socket, each a header and a message in
 * protobuf.
 */

/** Longest message behind a header, in bytes. */
export const largestTtrpcMessage = 4 * 1024 * 1024;

export const ttrpcMessageTypes = { request: 1, response: 2, data: 3 } as const;

/** Flags of a stream: a call with one request and one answer sets none that keeps it open. */
export const ttrpcFlags = { remoteClosed: 1, remoteOpen: 2, noData: 4 } as const;

/** What stands before each message. */
export const ttrpcHeader = structure(
  { name: 'ttrpc frame header', size: 10, source: 'containerd/ttrpc PROTOCOL.md' },
  {
    length: u32be(0, 'length of the message behind the header', { unit: 'bytes' }),
    streamId: u32be(4, 'number of the call; a client’s are odd and rise'),
    type: u8(8, 'request (1), response (2) or data (3)'),
    flags: u8(9, 'remote closed (1), remote open (2), no data (4)'),
  },
);

/** What a client calls. */
export interface TtrpcRequest {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
}

/** Reads the message of a request. Deadline and metadata are the client's affair. @throws MalformedError */
export function parseTtrpcRequest(message: Uint8Array): TtrpcRequest {
  try {
    const { service, method, payload } = fromBinary(RequestSchema, message);
    return { service, method, payload };
  } catch {
    throw new MalformedError({
      structure: 'ttrpc request',
      field: '/',
      offset: ttrpcHeader.size,
      expected: 'protobuf of a request',
      found: 'bytes that are none',
    });
  }
}

/** The frame of an answer. */
export function ttrpcResponse(streamId: number, answer: Uint8Array | RpcFailure): Uint8Array {
  const message = toBinary(
    ResponseSchema,
    create(ResponseSchema, answer instanceof Uint8Array ? { payload: answer } : { status: answer }),
  );
  const header = { length: message.length, streamId, type: ttrpcMessageTypes.response, flags: 0 };
  return concat(ttrpcHeader.build(header), message);
}
