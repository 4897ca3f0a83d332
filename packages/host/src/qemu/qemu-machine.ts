import { fromBase64, MalformedError, toBase64, UnavailableError } from '@vouchsafe/sev';
import { z } from 'zod';
import { deferred } from '../deferred.js';
import type {
  ConfidentialMachine,
  MachineEvent,
  RunState,
  SnpMachine,
  VirtualMachine,
} from '../launch/launcher.js';
import type { QmpClient } from '../qmp/client.js';
import type { QmpEvent } from '../qmp/messages.js';
import { launchedWithoutSev, launchedWithSnp, meaningOf, withMeaning } from '../qmp/refusals.js';

const statusAnswer = z.object({ status: z.string() });
const sevType = z.object({ 'sev-type': z.enum(['sev', 'sev-snp']).optional() });
const sevAnswer = z.object({
  enabled: z.boolean(),
  'api-major': z.int(),
  'api-minor': z.int(),
  'build-id': z.int(),
  policy: z.int().nonnegative(),
  state: z.enum(['uninit', 'launch-update', 'launch-secret', 'running', 'send-update', 'receive-update']),
  handle: z.int(),
});
const snpAnswer = z.object({
  enabled: z.literal(true),
  'api-major': z.int(),
  'api-minor': z.int(),
  'build-id': z.int(),
  'sev-type': z.literal('sev-snp'),
  'snp-policy': z.int().nonnegative(),
  state: z.enum(['uninit', 'launch-update', 'running']),
});
const dataAnswer = z.object({ data: z.string() });
const capabilitiesAnswer = z.object({
  pdh: z.string(),
  'cert-chain': z.string(),
  'cpu0-id': z.string().optional(),
  cbitpos: z.int().nonnegative(),
  'reduced-phys-bits': z.int().nonnegative(),
});

/** What query-sev-capabilities tells of a host. */
export interface SevCapabilities {
  /** PDH certificate, 0x824 bytes. */
  readonly pdh: Uint8Array;
  /** PEK‖OCA‖CEK, 0x186C bytes. */
  readonly chain: Uint8Array;
  /** The 64 bytes of GET_ID. QEMU before 7.1 does not tell them. */
  readonly chipId?: Uint8Array;
  readonly cBitPosition: number;
  readonly reducedPhysBits: number;
}

/** @throws UnavailableError when the host has no SEV; QmpError for other refusals */
export async function querySevCapabilities(client: QmpClient): Promise<SevCapabilities> {
  const answer = await ask(client, 'query-sev-capabilities', capabilitiesAnswer);
  const chipId = answer['cpu0-id'];
  return {
    pdh: fromBase64(answer.pdh, 'pdh'),
    chain: fromBase64(answer['cert-chain'], 'cert-chain'),
    ...(chipId === undefined ? {} : { chipId: fromBase64(chipId, 'cpu0-id') }),
    cBitPosition: answer.cbitpos,
    reducedPhysBits: answer['reduced-phys-bits'],
  };
}

export interface QemuMachineOptions {
  readonly client: QmpClient;
  /** What to do when the connection is over, whichever side ended it. */
  readonly release?: () => Promise<void>;
  /** Resolves when the process has ended, with what it wrote to standard error. */
  readonly ended?: Promise<{ readonly errorText: string }>;
}

/** Milliseconds. A process whose connection has ended is at its end, too, or never will be. */
const lastWordsWithin = 5000;

/** A machine that a QEMU runs, driven by its QMP commands. */
function qemuVirtualMachine({ client, release, ended: process }: QemuMachineOptions): {
  readonly machine: VirtualMachine;
  /** @throws UnavailableError once it has been quit */
  present(): Promise<QmpClient>;
} {
  const listeners = new Set<(event: MachineEvent) => void>();
  let ended = false;
  let quitting: Promise<void> | undefined;

  function emit(event: MachineEvent): void {
    if (event.type === 'ended' && ended) return;
    if (event.type === 'ended') ended = true;
    for (const listener of listeners) listener(event);
  }

  client.onEvent((event) => {
    const known = machineEvent(event);
    if (known !== undefined) emit(known);
  });
  void client.closed.then(() => {
    emit({ type: 'ended', reason: quitting === undefined ? 'fault' : 'quit', detail: 'QEMU has gone' });
  });

  async function present(): Promise<QmpClient> {
    if (quitting !== undefined) throw new UnavailableError('virtual machine', 'it has been quit');
    return client;
  }

  /** QEMU ends when the secure processor does not let the guest run; why, it says as it goes. */
  async function lastWords(error: unknown): Promise<Error | undefined> {
    if (process === undefined || !(error instanceof UnavailableError) || error.what !== 'QMP')
      return undefined;
    const waited = deferred<undefined>();
    const timer = setTimeout(() => waited.resolve(undefined), lastWordsWithin);
    const end = await Promise.race([process, waited.promise]);
    clearTimeout(timer);
    return end && meaningOf(end.errorText, error);
  }

  async function quit(): Promise<void> {
    try {
      await client.execute('quit');
    } catch {
      // A QEMU that is gone already has nothing more to quit.
    }
    await client.close();
    await release?.();
  }

  const machine: VirtualMachine = {
    async status() {
      if (quitting !== undefined) return 'shutdown';
      return runState((await ask(client, 'query-status', statusAnswer)).status);
    },
    async resume() {
      const connected = await present();
      await withMeaning(connected.execute('cont')).catch(async (error: unknown) => {
        throw (await lastWords(error)) ?? error;
      });
    },
    async pause() {
      await withMeaning((await present()).execute('stop'));
    },
    async quit() {
      quitting ??= quit();
      await quitting;
    },
    onEvent(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return { machine, present };
}

/** A guest of SEV or SEV-ES that a QEMU runs. */
export function qemuMachine(options: QemuMachineOptions): ConfidentialMachine {
  const { machine, present } = qemuVirtualMachine(options);
  return {
    ...machine,
    async information() {
      const client = await present();
      if ((await ask(client, 'query-sev', sevType))['sev-type'] === 'sev-snp') throw launchedWithSnp();
      const answer = await ask(client, 'query-sev', sevAnswer);
      if (!answer.enabled) throw launchedWithoutSev();
      return {
        apiMajor: answer['api-major'],
        apiMinor: answer['api-minor'],
        buildId: answer['build-id'],
        policy: answer.policy,
        state: answer.state,
        handle: answer.handle,
      };
    },
    async launchMeasurement() {
      return fromBase64(
        (await ask(await present(), 'query-sev-launch-measure', dataAnswer)).data,
        'measurement',
      );
    },
    async injectSecret({ header, payload, guestAddress }) {
      const given = {
        'packet-header': toBase64(header),
        secret: toBase64(payload),
        ...(guestAddress === undefined ? {} : { gpa: guestAddress }),
      };
      await withMeaning((await present()).execute('sev-inject-launch-secret', { arguments: given }));
    },
    async attestationReport(mnonce) {
      const given = { mnonce: toBase64(mnonce) };
      const answer = await ask(await present(), 'query-sev-attestation-report', dataAnswer, given);
      return fromBase64(answer.data, 'attestation report');
    },
  };
}

/** A guest of SEV-SNP that a QEMU runs. */
export function qemuSnpMachine(options: QemuMachineOptions): SnpMachine {
  const { machine, present } = qemuVirtualMachine(options);
  return {
    ...machine,
    async information() {
      const answer = await ask(await present(), 'query-sev', snpAnswer);
      return {
        apiMajor: answer['api-major'],
        apiMinor: answer['api-minor'],
        buildId: answer['build-id'],
        policy: BigInt(answer['snp-policy']),
        state: answer.state,
      };
    },
  };
}

function machineEvent({ event, data }: QmpEvent): MachineEvent | undefined {
  if (event === 'RESUME') return { type: 'resumed' };
  if (event === 'STOP') return { type: 'paused' };
  if (event === 'GUEST_PANICKED') return { type: 'ended', reason: 'fault', detail: 'the guest panicked' };
  if (event !== 'SHUTDOWN') return undefined;
  if (data?.guest !== true) return { type: 'ended', reason: 'quit' };
  return { type: 'ended', reason: data.reason === 'guest-panic' ? 'fault' : 'shutdown' };
}

/** QEMU knows more states; those are kinds of paused, but for the ones that a guest does not come back from. */
function runState(status: string): RunState {
  if (status === 'running' || status === 'prelaunch') return status;
  return ['shutdown', 'guest-panicked', 'internal-error'].includes(status) ? 'shutdown' : 'paused';
}

async function ask<T>(
  client: QmpClient,
  command: string,
  schema: z.ZodType<T>,
  given?: Readonly<Record<string, unknown>>,
): Promise<T> {
  const answer = await withMeaning(client.execute(command, given === undefined ? {} : { arguments: given }));
  const result = schema.safeParse(answer);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new MalformedError({
    structure: `answer to ${command}`,
    field: issue?.path.join('.') ?? 'return',
    offset: 0,
    expected: issue?.message ?? 'another form',
    found: JSON.stringify(answer).slice(0, 120),
  });
}
