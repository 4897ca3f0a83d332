import { generateKeyPairSync, sign } from 'node:crypto';
import { offlineTable, requireResource, unsealSecret } from '@vouchsafe/guest';
import { toBase64Url } from '@vouchsafe/protocol';
import { Secret, toBase64 } from '@vouchsafe/sev';
import type { Outcome, SnpAttack } from '../attack.js';
import { guestOutcome } from '../outcome.js';

/** Sealed secrets, which stand in the specification of a pod: the host reads it and may change it. */

const modes = ['snp'] as const;
const common = { flow: 'secrets', modes, refusedBy: 'guest' } as const;
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** A secret as its owner seals it, under a key that the guest's broker has, and what the guest makes of it. */
async function unsealAltered(alter: (sealed: string) => string): Promise<Outcome> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const kid = 'kbs:///owner/sealing-key/1';
  const name = 'kbs:///owner/password/database';
  const part = (value: object) => toBase64Url(bytesOf(JSON.stringify(value)));
  const content = { version: '0.1.0', type: 'vault', name, provider: 'kbs' };
  const signed = `${part({ alg: 'ES256', kid })}.${part({ ...content, provider_settings: {}, annotations: {} })}`;
  const signature = sign('sha256', bytesOf(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const sealed = `sealed.${signed}.${toBase64Url(new Uint8Array(signature))}`;
  const entries = {
    [kid]: toBase64(bytesOf(JSON.stringify({ ...publicKey.export({ format: 'jwk' }), alg: 'ES256' }))),
    [name]: toBase64(bytesOf('correct horse')),
    'kbs:///owner/password/databasf': toBase64(bytesOf('another secret')),
  };
  const table = Secret.take(bytesOf(JSON.stringify(entries)));
  const resources = offlineTable(table, { name: 'a broker', keysOnly: false });
  await requireResource(resources, kid);
  return guestOutcome('a secret of the host’s choice', () => unsealSecret(alter(sealed), { resources }));
}

export const sealedSecretAttacks: readonly SnpAttack[] = [
  {
    ...common,
    id: 'sealed-secret-altered',
    title: 'The host changes a sealed secret in the pod’s specification to name another one',
    at: 'sealed-secret-refused',
    run: () =>
      unsealAltered((sealed) => {
        const [word, header, content, signature] = sealed.split('.');
        const text = new TextDecoder().decode(Buffer.from(content!, 'base64url'));
        const other = toBase64Url(bytesOf(text.replace('/database', '/databasf')));
        return [word, header, other, signature].join('.');
      }),
  },
];
