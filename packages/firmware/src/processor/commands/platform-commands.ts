import {
  concat,
  getIdBuffer,
  initBuffer,
  initExBuffer,
  MalformedError,
  pdhCertExportBuffer,
  persistentStoreSize,
  platformStatus,
  trustedMemorySize,
} from '@vouchsafe/sev';
import { chipId, erasedStore, storeKeys, unsignedCekCertificate } from '../../identity/chip.js';
import { openStore, type PlatformIdentity, sealStore } from '../../identity/persistent-store.js';
import { makePdh, makeSelfOwnedIdentity } from '../../identity/platform-keys.js';
import { type MemoryRange, overlap } from '../../memory/dram.js';
import { requireHostPages } from '../../snp/guarded-memory.js';
import { refuse, refuseUnless } from '../command-refusal.js';
import type { HostSnapshot } from '../host-snapshot.js';
import type { Processor, StoreLocation } from '../processor.js';
import { TrustedMemory } from '../trusted-memory.js';

/** The platform commands (SEV API 0.24, chapter 5), in the order of the specification. */

const certificateSize = 0x824;
const chainSize = 3 * certificateSize;
const chipIdSize = 64;

export async function init(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(initBuffer);
  requireKnownFlags(command);
  const trusted = command.flags.encryptedState ? trustedRange(request, command) : undefined;
  await start(processor, { kind: 'flash' }, trusted);
}

export async function initEx(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(initExBuffer);
  refuseUnless(command.length === initExBuffer.size, 'INVALID_LENGTH');
  requireKnownFlags(command);
  const trusted = command.flags.encryptedState ? trustedRange(request, command) : undefined;
  if (command.storeAddress === 0n) return start(processor, { kind: 'flash' }, trusted);
  refuseUnless(command.storeAddress % 4096n === 0n, 'INVALID_ADDRESS');
  refuseUnless(command.storeLength === persistentStoreSize, 'INVALID_LENGTH');
  const range = request.range(command.storeAddress, command.storeLength);
  refuseUnless(!overlap(trusted, range), 'INVALID_ADDRESS');
  return start(processor, { kind: 'memory', range }, trusted);
}

export async function shutdown(processor: Processor): Promise<void> {
  processor.end();
}

/** Factory reset: the next INIT finds nothing and makes a new, self-owned identity. */
export async function platformReset(processor: Processor): Promise<void> {
  await writeStore(processor, erasedStore());
}

export async function platformStatusCommand(processor: Processor, request: HostSnapshot): Promise<void> {
  request.range(request.bufferAddress, platformStatus.size);
  const { api, build } = processor.profile;
  const session = processor.current;
  request.answer(platformStatus, {
    ...api,
    state: processor.state,
    owner: { externallyOwned: session?.identity.externallyOwned ?? false },
    config: { encryptedState: session?.encryptedState ?? false, build },
    guestCount: session?.guests.count ?? 0,
  });
}

/** New self-owned OCA, PEK and PDH: the way back from external ownership. */
export async function pekGen(processor: Processor): Promise<void> {
  await adopt(processor, await makeSelfOwnedIdentity(processor));
}

export async function pdhGen(processor: Processor): Promise<void> {
  const { identity } = processor.session;
  await adopt(processor, { ...identity, pdh: await makePdh(processor, identity.pek.key) });
}

export async function pdhCertExport(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(pdhCertExportBuffer);
  if (command.pdhLength < certificateSize || command.chainLength < chainSize) {
    request.answer(pdhCertExportBuffer, { ...command, pdhLength: certificateSize, chainLength: chainSize });
    refuse('INVALID_LENGTH');
  }
  const { pdh, pek, oca } = processor.session.identity;
  request.range(command.pdhAddress, certificateSize);
  request.range(command.chainAddress, chainSize);
  const cek = unsignedCekCertificate(processor.cek.publicKey);
  request.place(command.pdhAddress, pdh.certificate);
  request.place(command.chainAddress, concat(pek.certificate, oca.certificate, cek));
  request.answer(pdhCertExportBuffer, { ...command, pdhLength: certificateSize, chainLength: chainSize });
}

export async function getId(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(getIdBuffer);
  if (command.length < chipIdSize) {
    request.answer(getIdBuffer, { ...command, length: chipIdSize });
    refuse('INVALID_LENGTH');
  }
  request.place(command.address, chipId(processor.chip));
  request.answer(getIdBuffer, { ...command, length: chipIdSize });
}

export async function dfFlush(processor: Processor): Promise<void> {
  processor.caches.flush();
}

/** INIT's work: keys from the store, or new ones where it is erased; all ASIDs invalid and dirty. */
async function start(
  processor: Processor,
  location: StoreLocation,
  trusted: MemoryRange | undefined,
): Promise<void> {
  if (trusted !== undefined) requireHostPages(processor.snpFirmware?.reverseMap, trusted);
  processor.storeLocation = location;
  const stored = await readStore(processor);
  const identity = stored ?? (await makeSelfOwnedIdentity(processor));
  if (stored === undefined) await saveIdentity(processor, identity);
  processor.begin({
    encryptedState: trusted !== undefined,
    identity,
    trusted: new TrustedMemory(processor.memory, trusted ?? { address: 0, length: 0 }),
  });
}

function requireKnownFlags({ notes }: { readonly notes: readonly unknown[] }): void {
  refuseUnless(notes.length === 0, 'INVALID_CONFIG');
}

function trustedRange(
  request: HostSnapshot,
  command: { readonly tmrAddress: bigint; readonly tmrLength: number },
): MemoryRange {
  refuseUnless(command.tmrAddress % BigInt(trustedMemorySize) === 0n, 'INVALID_ADDRESS');
  refuseUnless(command.tmrLength === trustedMemorySize, 'INVALID_LENGTH');
  return request.range(command.tmrAddress, command.tmrLength);
}

/** Makes an identity the platform's, and lasting. */
export async function adopt(processor: Processor, identity: PlatformIdentity): Promise<void> {
  await saveIdentity(processor, identity);
  const { session } = processor;
  const before = session.identity;
  session.identity = identity;
  if (before.oca.key !== identity.oca.key) before.oca.key?.scalar.zero();
  if (before.pek.key !== identity.pek.key) before.pek.key.scalar.zero();
  if (before.pdh.key !== identity.pdh.key) before.pdh.key.scalar.zero();
}

async function saveIdentity(processor: Processor, identity: PlatformIdentity): Promise<void> {
  await writeStore(processor, await sealStore(identity, storeKeys(processor.chip), processor.random));
}

/** A damaged store is erased: the next INIT makes a new identity. */
async function readStore(processor: Processor): Promise<PlatformIdentity | undefined> {
  const { storeLocation: location, chip, memory } = processor;
  const blob =
    location.kind === 'flash'
      ? chip.flash.read()
      : memory.read(location.range.address, location.range.length);
  try {
    return await openStore(blob, storeKeys(chip));
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    await writeStore(processor, erasedStore());
    return refuse('SECURE_DATA_INVALID');
  }
}

async function writeStore({ storeLocation, chip, hostMemory }: Processor, store: Uint8Array): Promise<void> {
  if (storeLocation.kind === 'flash') await chip.flash.write(store);
  else hostMemory.write(storeLocation.range.address, store);
}
