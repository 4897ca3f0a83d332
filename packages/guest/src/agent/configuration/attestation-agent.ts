import { message, teeKeyKinds } from '@vouchsafe/protocol';
import { z } from 'zod';
import { readSettings } from './documents.js';

const anObject = { error: 'expected a table' };
const text = z.string({ error: 'expected text' });

/**
 * The settings file of Confidential Containers' attestation agent (`aa.toml` in init-data). Members that it does not have
 * are passed over, as theirs does.
 */
const attestationAgentSettings = message(
  'attestation agent settings',
  z.object(
    {
      token_configs: z
        .object(
          {
            kbs: z
              .object(
                {
                  url: text,
                  /** PEM of the only certificate that may vouch for the broker. */
                  cert: text.exactOptional(),
                  tee_key_algorithm: z
                    .enum(teeKeyKinds, { error: `expected ${teeKeyKinds.join(', ')}` })
                    .exactOptional(),
                },
                anObject,
              )
              .exactOptional(),
            coco_as: z.object({ url: text }, anObject).exactOptional(),
          },
          anObject,
        )
        .exactOptional(),
      eventlog_config: z
        .object(
          {
            init_pcr: z.number({ error: 'expected a number' }).int().min(0).max(23).exactOptional(),
            enable_eventlog: z.boolean({ error: 'expected true or false' }).exactOptional(),
          },
          anObject,
        )
        .exactOptional(),
    },
    anObject,
  ),
);
export type AttestationAgentSettings = ReturnType<typeof attestationAgentSettings.parse>;

/** @throws MalformedError */
export function parseAttestationAgentSettings(settings: string): AttestationAgentSettings {
  return readSettings(attestationAgentSettings, settings);
}
