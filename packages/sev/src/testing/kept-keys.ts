import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '../../../../node_modules/.cache/vouchsafe-test-keys');
const loaded = new Map<string, KeyObject>();

/**
 * An RSA key for tests: RSA 4096 takes seconds to make, so each is made once and kept in node_modules/.cache, which
 * `npm ci` empties. One name always means the same key: two that must differ have two names.
 */
export function keptKey(name: string, modulusBits: 2048 | 4096): KeyObject {
  const file = `${name}-${modulusBits}`;
  const key = loaded.get(file) ?? readKept(file) ?? makeKept(file, modulusBits);
  loaded.set(file, key);
  return key;
}

function readKept(file: string): KeyObject | undefined {
  try {
    return createPrivateKey(readFileSync(join(folder, `${file}.pem`)));
  } catch {
    return undefined;
  }
}

function makeKept(file: string, modulusLength: number): KeyObject {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = join(folder, `${file}.${process.pid}.tmp`);
  writeFileSync(draft, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  renameSync(draft, join(folder, `${file}.pem`));
  return readKept(file) ?? privateKey;
}
