/**
 * Every failure that this project raises on purpose. `code` is stable and may be switched on; messages are for people
 * and may change. The classes say whose fault it is, and so which exit status the command line gives.
 */
export abstract class VouchsafeError extends Error {
  /** Stable identifier of the kind of failure. */
  abstract readonly code: string;
  /** What the reader can do about it, where there is something. */
  readonly hint: string | undefined;

  constructor(message: string, options?: { hint?: string | undefined; cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options?.hint;
  }
}

/** Where in which structure a parser stopped. Offsets count from the first byte of the outermost input. */
export interface MalformedEvidence {
  readonly structure: string;
  readonly field: string;
  readonly offset: number;
  readonly expected: string;
  readonly found: string;
}

/** Bytes or text that are not what their format says: wrong length, unknown version, reserved bits, trailing bytes. */
export class MalformedError extends VouchsafeError {
  readonly code = 'malformed';
  readonly structure: string;
  readonly field: string;
  readonly offset: number;
  readonly expected: string;
  readonly found: string;

  constructor(evidence: MalformedEvidence, options?: { hint?: string; cause?: unknown }) {
    super(
      `${evidence.structure}: ${evidence.field} at offset 0x${evidence.offset.toString(16)}: ` +
        `expected ${evidence.expected}, found ${evidence.found}`,
      options,
    );
    this.structure = evidence.structure;
    this.field = evidence.field;
    this.offset = evidence.offset;
    this.expected = evidence.expected;
    this.found = evidence.found;
  }
}

/** An argument that the caller chose and that cannot be used. */
export class InvalidArgumentError extends VouchsafeError {
  readonly code = 'invalid-argument';
  readonly argument: string;

  constructor(argument: string, message: string, options?: { hint?: string; cause?: unknown }) {
    super(`${argument}: ${message}`, options);
    this.argument = argument;
  }
}

/** Something outside failed: a file, a server, a device, another process. */
export class UnavailableError extends VouchsafeError {
  readonly code = 'unavailable';
  readonly what: string;

  constructor(what: string, message: string, options?: { hint?: string | undefined; cause?: unknown }) {
    super(`${what}: ${message}`, options);
    this.what = what;
  }
}
