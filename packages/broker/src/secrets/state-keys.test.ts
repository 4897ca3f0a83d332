import { createPublicKey, sign, verify } from 'node:crypto';
import { openSecret, RefusedError, Secret, systemRandom } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { StateKeys } from './state-keys.js';

const keysOf = (database = 'a', root = 1) =>
  new StateKeys(database, Secret.take(new Uint8Array(32).fill(root)), systemRandom);
const content = Uint8Array.of(1, 2, 3);

describe('the keys of a database', () => {
  it('seal for a place, in one database, under one root key', () => {
    const sealed = keysOf().seal(['policies', 1, 'content'], content);
    expect(openSecret(keysOf().open(['policies', 1, 'content'], sealed))).toEqual(content);
    expect(() => keysOf().open(['policies', 2, 'content'], sealed)).toThrow(RefusedError);
    expect(() => keysOf().open(['policies', '1', 'content'], sealed)).toThrow(/policies 1 content differs/);
    expect(() => keysOf('b').open(['policies', 1, 'content'], sealed)).toThrow(RefusedError);
    expect(() => keysOf('a', 2).open(['policies', 1, 'content'], sealed)).toThrow(RefusedError);
    expect(keysOf().tryOpen(['x'], sealed)).toBeUndefined();
    expect(keysOf().tryOpen(['x'], 'text' as unknown as Uint8Array)).toBeUndefined();
    expect(keysOf().openText(['x'], keysOf().sealText(['x'], 'Grüße'))).toBe('Grüße');
  });

  it('authenticate a row with all its columns, in any order', () => {
    const row = keysOf().withMac('tokens', {
      id: '1',
      role: 'reader',
      count: 0,
      note: null,
      digest: content,
    });
    const { mac, digest, note, count, role, id } = row;
    expect(keysOf().requireMac('tokens', '1', { mac, digest, note, count, role, id })).toEqual(row);
    const others = [
      { ...row, role: 'admin' },
      { ...row, count: 1 },
      { ...row, count: '0' },
      { ...row, note: '' },
      { ...row, digest: '0x010203' },
      { ...row, digest: Uint8Array.of(1, 2) },
      { ...row, more: 1 },
      { ...row, mac: mac.subarray(1) },
      { ...row, mac: 'text' as unknown as Uint8Array },
    ];
    for (const other of others) {
      expect(() => keysOf().requireMac('tokens', '1', other), JSON.stringify(other)).toThrow(
        /tokens 1 differs/,
      );
    }
    expect(() => keysOf().requireMac('policies', '1', row)).toThrow(RefusedError);
    expect(() => keysOf('b').requireMac('tokens', '1', row)).toThrow(RefusedError);
  });

  it('find names of one kind', () => {
    const digest = keysOf().digestOf('resource', 'a');
    expect(digest).toEqual(keysOf().digestOf('resource', 'a'));
    for (const other of [
      keysOf().digestOf('resource', 'b'),
      keysOf().digestOf('policy', 'a'),
      keysOf('b').digestOf('resource', 'a'),
    ]) {
      expect(other).not.toEqual(digest);
    }
  });

  it('sign checkpoints with the same key each time', () => {
    const signature = sign(null, content, keysOf().checkpointKey);
    expect(verify(null, content, createPublicKey(keysOf().checkpointKey), signature)).toBe(true);
    expect(verify(null, content, createPublicKey(keysOf('b').checkpointKey), signature)).toBe(false);
  });

  it('are gone once they are zeroed', () => {
    const keys = keysOf();
    const sealed = keys.seal(['x'], content);
    keys.zero();
    expect(() => keys.open(['x'], sealed)).toThrow(/zeroed/);
    expect(() => keys.mac('x', {})).toThrow(/zeroed/);
    expect(() => keys.digestOf('x', 'y')).toThrow(/zeroed/);
  });
});
