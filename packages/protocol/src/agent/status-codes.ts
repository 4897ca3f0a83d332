/** Codes that gRPC and ttrpc answer with (google.rpc.Code). */
export const rpcCodes = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type RpcCode = (typeof rpcCodes)[keyof typeof rpcCodes];

/** What a call ends with that does not succeed. */
export interface RpcFailure {
  readonly code: RpcCode;
  /** For people; container tools show it to their users. */
  readonly message: string;
}
