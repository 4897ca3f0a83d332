import { type PlatformOwner, readPlatformOwner } from '@vouchsafe/host';
import { readEncoded, readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';

/** The owner's CA from its two files; the key stays in memory as long as the signing takes. */
export async function readOwnerFiles(certificate: string, key: string, io: Io): Promise<PlatformOwner> {
  const oca = await readEncoded(certificate, 'OCA certificate', io, [0x824]);
  const bytes = await readInput(key, 'owner key', io);
  try {
    return readPlatformOwner(oca, bytes);
  } finally {
    bytes.fill(0);
  }
}
