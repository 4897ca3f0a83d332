import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Generation } from '@vouchsafe/sev';
import type { AuthorityKeys } from '../authority-keys.js';

/**
 * Keys for development authorities in tests: RSA 4096 takes seconds to make, so each pair is made once and kept in
 * node_modules/.cache, which `npm ci` empties.
 */
export async function testAuthorityKeys(generation: Generation): Promise<AuthorityKeys> {
  const bits = generation === 'naples' ? 2048 : 4096;
  const older = generation === 'naples' || generation === 'rome';
  return {
    ark: keptKey(`ark-${bits}`, bits),
    ask: keptKey(`ask-${bits}`, bits),
    ...(older ? {} : { asvk: keptKey(`asvk-${bits}`, bits) }),
  };
}

const folder = join(import.meta.dirname, '../../../../node_modules/.cache/vouchsafe-test-keys');
const loaded = new Map<string, KeyObject>();

function keptKey(name: string, bits: number): KeyObject {
  const key = loaded.get(name) ?? readKept(name) ?? makeKept(name, bits);
  loaded.set(name, key);
  return key;
}

function readKept(name: string): KeyObject | undefined {
  try {
    return createPrivateKey(readFileSync(join(folder, `${name}.pem`)));
  } catch {
    return undefined;
  }
}

function makeKept(name: string, bits: number): KeyObject {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = join(folder, `${name}.${process.pid}.tmp`);
  writeFileSync(draft, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  renameSync(draft, join(folder, `${name}.pem`));
  return readKept(name) ?? privateKey;
}
