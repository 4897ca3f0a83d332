import { message } from '@vouchsafe/protocol';
import { z } from 'zod';
import { readSettings } from './documents.js';

const anObject = { error: 'expected a table' };
const text = z.string({ error: 'expected text' });

/** Where fetched credentials may be written: nowhere else, whatever the settings say. */
export const credentialsFolder = '/run/confidential-containers/cdh/kbs';

/** Kinds of key broker client. The first attests to a broker; the second has files of the guest's image. */
const clients = ['cc_kbc', 'offline_fs_kbc'] as const;

/**
 * The settings file of Confidential Containers' data hub (`cdh.toml` in init-data). Members that it does not have are
 * passed over, as theirs does; what concerns the pulling of images is the container runtime's affair here.
 */
export const dataHubSettings = message(
  'data hub settings',
  z.object(
    {
      socket: text.exactOptional(),
      kbc: z
        .object(
          {
            name: z.enum(clients, { error: `expected ${clients.join(' or ')}` }),
            url: text.exactOptional(),
            /** PEM of the only certificate that may vouch for the broker. */
            kbs_cert: text.exactOptional(),
          },
          anObject,
        )
        .exactOptional(),
      credentials: z
        .array(
          z.object(
            {
              path: text.refine(isBelowCredentials, { error: `expected a path below ${credentialsFolder}` }),
              resource_uri: text,
            },
            anObject,
          ),
          { error: 'expected a list' },
        )
        .exactOptional(),
      image: z
        .object(
          {
            /** Wins over the address. */
            image_security_policy: text.exactOptional(),
            image_security_policy_uri: text.exactOptional(),
          },
          anObject,
        )
        .exactOptional(),
    },
    anObject,
  ),
);
export type DataHubSettings = ReturnType<typeof dataHubSettings.parse>;

/** @throws MalformedError */
export function parseDataHubSettings(settings: string): DataHubSettings {
  return readSettings(dataHubSettings, settings);
}

function isBelowCredentials(path: string): boolean {
  if (!path.startsWith(`${credentialsFolder}/`) || path.includes('\0')) return false;
  const rest = path.slice(credentialsFolder.length + 1).split('/');
  return rest.every((part) => part !== '' && part !== '.' && part !== '..');
}
