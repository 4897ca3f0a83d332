import { homedir } from 'node:os';
import { join } from 'node:path';
import { createKdsClient, type KdsClient } from '@vouchsafe/kds';
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
    return createKdsClient({ cacheFolder: cache ?? join(homedir(), '.cache', 'vouchsafe', 'kds'), offline });
  }
  return createKdsClient({ baseUrl: url, offline, ...(cache === undefined ? {} : { cacheFolder: cache }) });
}
