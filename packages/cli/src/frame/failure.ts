import type { Appraisal } from '@vouchsafe/sev';
import { exitStatus, internalErrorStatus } from './command.js';
import type { Io } from './io.js';
import { harmless, screenOn } from './screen.js';

/** A failure of any kind, ready to be shown and to be turned into an exit status. */
interface Failure {
  readonly exit: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
  /** Evidence in fields of their own: structure, field, offset, argument… */
  readonly evidence: Readonly<Record<string, unknown>>;
  readonly appraisal?: Appraisal;
}

export interface FailureSurroundings {
  readonly io: Io;
  readonly json: boolean;
  /** The command line that explains the command. */
  readonly help: string;
}

/** Prints what went wrong and gives the exit status. Never a stack trace, unless VOUCHSAFE_DEBUG=1 asks for one. */
export async function reportFailure(
  error: unknown,
  { io, json, help }: FailureSurroundings,
): Promise<number> {
  const failure = await classify(error, help);
  if (json) {
    io.stdout.write(`${JSON.stringify(await failureToJson(failure), undefined, 2)}\n`);
  } else {
    await showFailure(failure, io);
  }
  if (io.env['VOUCHSAFE_DEBUG'] === '1' && error instanceof Error) io.stderr.write(`${error.stack}\n`);
  return failure.exit;
}

async function showFailure(failure: Failure, io: Io): Promise<void> {
  const screen = screenOn(io.stderr, io.env);
  if (failure.appraisal !== undefined) {
    const { showAppraisal } = await import('./appraisal.js');
    showAppraisal(screen, failure.appraisal);
    return;
  }
  screen.line(`${screen.paint('bad', 'vouchsafe')}: ${harmless(failure.message)}`);
  if (failure.hint !== undefined) screen.line(`  hint: ${harmless(failure.hint)}`);
}

async function failureToJson(failure: Failure): Promise<unknown> {
  const { code, message, hint, evidence, appraisal } = failure;
  const verdict = appraisal === undefined ? {} : (await import('@vouchsafe/sev')).appraisalToJson(appraisal);
  return { ...verdict, error: { code, message, hint: hint ?? null, ...evidence } };
}

async function classify(error: unknown, help: string): Promise<Failure> {
  // Loaded here and not above: help and the table of commands need nothing of ours.
  const { InvalidArgumentError, MalformedError, RefusedError, VouchsafeError } = await import(
    '@vouchsafe/sev'
  );
  if (error instanceof VouchsafeError) {
    const malformed = error instanceof MalformedError || error instanceof InvalidArgumentError;
    const refused = error instanceof RefusedError || refusalCodes.has(error.code);
    const ofOption = error instanceof InvalidArgumentError && error.argument.startsWith('--');
    return {
      exit: refused ? exitStatus.refused : malformed ? exitStatus.malformed : exitStatus.outsideFailed,
      code: error.code,
      message: error.message,
      hint: error.hint ?? (ofOption ? `\`${help}\` explains its options` : undefined),
      evidence: evidenceOf(error),
      ...(error instanceof RefusedError ? { appraisal: error.appraisal } : {}),
    };
  }
  if (error instanceof Error && 'syscall' in error && 'code' in error) {
    return {
      exit: exitStatus.outsideFailed,
      code: 'unavailable',
      message: `${String(error.syscall)}: the system answered ${String(error.code)}`,
      evidence: { what: String(error.syscall) },
    };
  }
  return {
    exit: internalErrorStatus,
    code: 'internal',
    message: `a mistake in vouchsafe itself (${error instanceof Error ? error.name : typeof error})`,
    hint: 'please report it, with the command line and what it prints with VOUCHSAFE_DEBUG=1; check it for secrets first',
    evidence: {},
  };
}

/** Errors that say no without an Appraisal: a MAC or a key that is not the right one, a broker that keeps its reasons. */
const refusalCodes = new Set([
  'session-refused',
  'packet-refused',
  'wrong-disk-key',
  'wrong-sealing-key',
  'request-refused',
  'attestation-refused',
  'release-refused',
  'wrong-layer-key',
  'sealed-secret-refused',
  'caller-refused',
  'administrator-refused',
]);

const toldElsewhere = new Set(['code', 'hint', 'name', 'message', 'stack', 'cause', 'appraisal']);

/** The error's own fields that are plain values. */
function evidenceOf(error: Error): Record<string, unknown> {
  const plain = ([name, value]: [string, unknown]) =>
    !toldElsewhere.has(name) && ['string', 'number', 'boolean'].includes(typeof value);
  return Object.fromEntries(Object.entries(error).filter(plain));
}
