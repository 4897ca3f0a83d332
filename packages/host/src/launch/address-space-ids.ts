import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { activateBuffer, deactivateBuffer, UnavailableError } from '@vouchsafe/sev';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { type Mailbox, withMailbox } from '../platform/mailbox.js';

/**
 * Gives the guest an address space id: the first that is free of those for its kind (CPUID 0x8000001F: SEV-ES guests
 * take 1 to EDX - 1, others EDX to ECX). One that another guest had is flushed before it is used again.
 * @throws UnavailableError when all are in use
 */
export function activate(
  machine: HostMachine,
  mailbox: Mailbox,
  handle: number,
  mode: 'sev' | 'sev-es',
): Promise<number> {
  const { minimumSevAsid, maximumAsid } = machine.capabilities;
  const [first, last] = mode === 'sev-es' ? [1, minimumSevAsid - 1] : [minimumSevAsid, maximumAsid];
  return takeFirstAsid(machine, {
    first: Math.max(1, first),
    last,
    kind: mode,
    activate: (asid) => mailbox.run('ACTIVATE', activateBuffer.build({ handle, asid })),
    flush: () => flush(machine, mailbox),
  });
}

export interface AsidRequest {
  readonly first: number;
  readonly last: number;
  /** Of guests, for the error. */
  readonly kind: string;
  /** @throws FirmwareCommandError as the firmware answers */
  activate(asid: number): Promise<unknown>;
  /** Makes ids that guests had usable again. */
  flush(): Promise<void>;
}

/** Tries one id after the other. @throws UnavailableError when all are in use */
export async function takeFirstAsid(machine: HostMachine, request: AsidRequest): Promise<number> {
  const { first, last, kind } = request;
  for (let asid = first; asid <= last; asid++) {
    let outcome = await tryActivate(request, asid);
    if (outcome === 'dirty') {
      await alone(machine, request.flush);
      outcome = await tryActivate(request, asid);
    }
    if (outcome === 'active') return asid;
  }
  throw new UnavailableError(
    'address space id',
    `all of ${first} to ${last} are in use by other ${kind} guests`,
    {
      hint: 'stop a guest, or set another minimum for guests without SEV-ES in the BIOS',
    },
  );
}

async function tryActivate(
  { activate: activateOne }: AsidRequest,
  asid: number,
): Promise<'active' | 'owned' | 'dirty'> {
  try {
    await activateOne(asid);
    return 'active';
  } catch (error) {
    if (!(error instanceof FirmwareCommandError)) throw error;
    if (error.statusName === 'ASID_OWNED') return 'owned';
    if (error.statusName === 'DF_FLUSH_REQUIRED') return 'dirty';
    throw error;
  }
}

/** Takes the id away again and flushes what caches hold under it. */
export function deactivate(machine: HostMachine, handle: number): Promise<void> {
  return alone(machine, () =>
    withMailbox(machine, async (mailbox) => {
      await mailbox.run('DEACTIVATE', deactivateBuffer.build({ handle }));
      await flush(machine, mailbox);
    }),
  );
}

async function flush(machine: HostMachine, mailbox: Mailbox): Promise<void> {
  await machine.writeBackAndInvalidate();
  await mailbox.run('DF_FLUSH');
}

/** The last piece of work that flushes, by machine. */
const flushing = new WeakMap<HostMachine, Promise<unknown>>();

/** One at a time: a guest that is deactivated between WBINVD and DF_FLUSH makes the processor ask for WBINVD again. */
function alone<T>(machine: HostMachine, work: () => Promise<T>): Promise<T> {
  const before = flushing.get(machine) ?? Promise.resolve();
  const own = before.then(work);
  flushing.set(
    machine,
    own.catch(() => undefined),
  );
  return own;
}
