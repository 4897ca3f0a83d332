import { closeSync, existsSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { VouchsafeError } from '@vouchsafe/sev';
import type { AttestationDevice, AttestationEvidence } from '../attestation-device.js';
import { makeFifos, openWritableFifo, readableFifo, type WritableFifo } from './fifo.js';

/** Where an entry of a served folder says why its last report was not made; linux has no such file. */
const errorFile = 'error';

const inblobSize = 64;
const generationLimit = 1n << 32n;
const written = ['inblob', 'privlevel'] as const;
const read = ['outblob', 'auxblob', 'generation'] as const;

/** An entry of a served folder: what `mkdir` made, with its files. */
export interface ServedEntry {
  readonly folder: string;
  /** Looks once whether a program reads one of the files, and serves it. */
  poll(): Promise<void>;
  /** Whether the entry is still there. */
  exists(): boolean;
  close(): void;
}

/** Fills an entry that a program has made. @throws UnavailableError when its files are there already */
export async function openServedEntry(
  device: AttestationDevice,
  folder: string,
  spare: string,
): Promise<ServedEntry> {
  const at = (name: string) => join(folder, name);
  await makeFifos(...[...written, ...read].map(at));
  writeFileSync(at(errorFile), '', { mode: 0o600 });
  writeFileSync(at('privlevel_floor'), '0\n', { mode: 0o400 });
  const inputs: Record<(typeof written)[number], WritableFifo> = {
    inblob: openWritableFifo(at('inblob'), inblobSize),
    privlevel: openWritableFifo(at('privlevel'), 64),
  };
  const outputs = read.map((name) => ({ name, fifo: readableFifo(at(name), spare) }));
  // Last of all: a program that waits for this file finds the others.
  writeFileSync(at('provider'), 'sev_guest\n', { mode: 0o400 });

  let generation = 0n;
  let reportData: Uint8Array | undefined;
  let problem: string | undefined;
  let vmpl: number | undefined;
  let cached: { readonly generation: bigint; readonly evidence: AttestationEvidence } | undefined;

  /** Takes over what was written since. As in configfs, only what is accepted counts. */
  function drain(): void {
    const privilege = inputs.privlevel.take();
    if (privilege !== undefined) {
      const level = readPrivilege(privilege);
      if (level === undefined) problem = 'privlevel: expected one number from 0 to 3';
      else {
        vmpl = level;
        generation = (generation + 1n) % generationLimit;
      }
    }
    const blob = inputs.inblob.take();
    if (blob === undefined) return;
    if (blob.length > inblobSize) {
      problem = `inblob: more than ${inblobSize} bytes; read generation between two writes`;
      reportData = undefined;
    } else {
      problem = undefined;
      reportData = blob;
      generation = (generation + 1n) % generationLimit;
    }
  }

  async function evidence(): Promise<AttestationEvidence | undefined> {
    if (cached?.generation === generation) return cached.evidence;
    cached = undefined;
    try {
      if (reportData === undefined) throw new Error(problem ?? 'inblob: nothing was written');
      const asked = generation;
      const made = await device.report({ reportData, vmpl });
      cached = { generation: asked, evidence: made };
      tell('');
      return made;
    } catch (error) {
      tell(error instanceof Error ? textOf(error) : 'failed');
      return undefined;
    }
  }

  function tell(text: string): void {
    if (existsSync(folder)) writeFileSync(at(errorFile), text === '' ? '' : `${text}\n`, { mode: 0o600 });
  }

  async function contentOf(name: (typeof read)[number]): Promise<Uint8Array> {
    drain();
    if (name === 'generation') return new TextEncoder().encode(`${generation}\n`);
    const made = await evidence();
    if (name === 'outblob') return made?.report ?? new Uint8Array();
    return made?.certificateTable ?? new Uint8Array();
  }

  return {
    folder,
    async poll() {
      for (const { name, fifo } of outputs) {
        const descriptor = await fifo.accept();
        if (descriptor !== undefined) fill(descriptor, await contentOf(name));
      }
    },
    exists: () => existsSync(at('provider')),
    close() {
      for (const input of Object.values(inputs)) input.close();
    },
  };
}

/** Writes to a program that reads, and closes. A program that stops reading is left alone. */
function fill(descriptor: number, content: Uint8Array): void {
  try {
    for (let at = 0; at < content.length; ) at += writeSync(descriptor, content, at);
  } catch {
    // EPIPE: it has gone. EAGAIN: it reads less than a pipe holds, and gets what it holds.
  } finally {
    closeSync(descriptor);
  }
}

/** The kernel's number parser: decimal, or 0x and hexadecimal digits, with at most one line feed. */
function readPrivilege(content: Uint8Array): number | undefined {
  const text = new TextDecoder().decode(content);
  if (!/^(?:0x[0-9a-f]{1,8}|\d{1,9})\n?$/i.test(text)) return undefined;
  const level = Number(text);
  return level <= 3 ? level : undefined;
}

function textOf(error: Error): string {
  const hint = error instanceof VouchsafeError ? error.hint : undefined;
  return (hint === undefined ? error.message : `${error.message} (${hint})`).replaceAll(/\p{Cc}+/gu, ' ');
}
