import { homedir } from 'node:os';
import { join } from 'node:path';
import { createKdsClient, type KdsClient } from '@vouchsafe/kds';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { path, text } from '../../frame/options.js';

/** Options of the commands that ask a key service. */
export const keyServiceOptions = {
  kds: text('--kds <url>', 'key service to ask: a base address, or "amd", the default'),
  cache: path('--cache <dir>', 'folder to keep its answers in'),
};

/** A client of AMD's key service or of one with the same paths. AMD's answers are kept: it answers slowly on purpose. */
export function openKeyService({
  url,
  cache,
  offline = false,
}: {
  url?: string | undefined;
  cache?: string | undefined;
  /** Nothing is asked of the network: the cache answers, or nobody does. */
  offline?: boolean | undefined;
}): KdsClient {
  if (url === undefined || url === 'amd') {
    return createKdsClient({ cacheFolder: cache ?? usualCache(), offline });
  }
  return createKdsClient({ baseUrl: url, offline, ...(cache === undefined ? {} : { cacheFolder: cache }) });
}

/** Where AMD's answers are kept unless told otherwise. */
const usualCache = () => join(homedir(), '.cache', 'vouchsafe', 'kds');

/**
 * Where the answers of a service are kept by a command that is about them.
 * @throws InvalidArgumentError for a service of one's own without a folder: nothing would be kept
 */
export function cacheFolderFor({
  kds,
  cache,
}: {
  kds?: string | undefined;
  cache?: string | undefined;
}): string {
  if (cache !== undefined) return cache;
  if (kds === undefined || kds === 'amd') return usualCache();
  throw new InvalidArgumentError('--cache', 'it has to be given with a --kds of your own', {
    hint: 'only AMD’s answers have a usual place',
  });
}
