import { basename, dirname } from 'node:path';
import type { AttestationDevice } from '../attestation/attestation-device.js';
import { RequestRefusedError } from '../attestation/attestation-device.js';
import type { TsmFiles } from '../attestation/tsm-files.js';

interface Entry {
  generation: number;
  readGeneration: number | undefined;
  inblob: Uint8Array | undefined;
  vmpl: number;
  blobs: { readonly outblob: Uint8Array; readonly auxblob: Uint8Array } | undefined;
}

export interface TsmModelOptions {
  readonly provider?: string;
  readonly floor?: number;
  /** What mkdir answers instead. */
  readonly mkdir?: string;
  /** errno of reading outblob, instead of a report. */
  readonly outblob?: string;
  /** Called before each read and write, with the entry: another program that uses it at the same time. */
  readonly meddle?: (file: string, entry: { generation: number }) => void;
}

const fails = (code: string): never => {
  throw Object.assign(new Error(code), { code });
};

/**
 * Linux's configfs-tsm as its documentation and drivers/virt/coco/guest/report.c describe it, in memory, with a device in
 * the place of the driver.
 */
export class TsmModel implements TsmFiles {
  readonly #device: AttestationDevice;
  readonly #options: TsmModelOptions;
  readonly entries = new Map<string, Entry>();
  /** Every operation, in order. */
  readonly log: string[] = [];

  constructor(device: AttestationDevice, options: TsmModelOptions = {}) {
    this.#device = device;
    this.#options = options;
  }

  async makeEntry(folder: string): Promise<void> {
    this.log.push('mkdir');
    if (this.#options.mkdir !== undefined) fails(this.#options.mkdir);
    if (this.entries.has(folder)) fails('EEXIST');
    const { floor = 0 } = this.#options;
    this.entries.set(folder, {
      generation: 0,
      readGeneration: undefined,
      inblob: undefined,
      vmpl: floor,
      blobs: undefined,
    });
  }

  async removeEntry(folder: string): Promise<void> {
    this.log.push('rmdir');
    if (!this.entries.delete(folder)) fails('ENOENT');
  }

  async read(file: string): Promise<Uint8Array> {
    const [name, entry] = this.#entry('read', file);
    const text = (value: string) => new TextEncoder().encode(value);
    switch (name) {
      case 'provider':
        return text(`${this.#options.provider ?? 'sev_guest'}\n`);
      case 'generation':
        return text(`${entry.generation}\n`);
      case 'privlevel_floor':
        return text(`${this.#options.floor ?? 0}\n`);
      case 'outblob':
      case 'auxblob':
        return this.#blob(entry, name);
      default:
        return fails('EACCES');
    }
  }

  async write(file: string, content: Uint8Array): Promise<void> {
    const [name, entry] = this.#entry('write', file);
    if (name === 'inblob') {
      if (content.length > 64) fails('EFBIG');
      entry.inblob = content.slice();
    } else if (name === 'privlevel') {
      const level = Number(new TextDecoder().decode(content));
      if (!Number.isInteger(level) || level < (this.#options.floor ?? 0) || level > 3) fails('EINVAL');
      entry.vmpl = level;
    } else {
      fails('EACCES');
    }
    entry.generation += 1;
  }

  async #blob(entry: Entry, name: 'outblob' | 'auxblob'): Promise<Uint8Array> {
    const { inblob, vmpl, generation } = entry;
    if (inblob === undefined) return fails('EINVAL');
    if (entry.blobs === undefined || entry.readGeneration !== generation) {
      entry.blobs = undefined;
      if (this.#options.outblob !== undefined) fails(this.#options.outblob);
      if (inblob.length !== 64) fails('EINVAL');
      const made = await this.#device.report({ reportData: inblob, vmpl }).catch((error: unknown) => {
        return fails(error instanceof RequestRefusedError ? 'EINVAL' : 'EIO');
      });
      entry.blobs = { outblob: made.report, auxblob: made.certificateTable ?? new Uint8Array() };
      entry.readGeneration = generation;
    }
    return entry.blobs[name].slice();
  }

  #entry(verb: string, file: string): [string, Entry] {
    const name = basename(file);
    this.log.push(`${verb} ${name}`);
    const entry = this.entries.get(dirname(file)) ?? fails('ENOENT');
    this.#options.meddle?.(`${verb} ${name}`, entry);
    return [name, entry];
  }
}
