import { describe, expect, it } from 'vitest';
import { appraiseLuks, type DiskCheck } from './luks-checks.js';
import type { LuksKeySlot, LuksMetadata, LuksSegment } from './luks-metadata.js';

const headerSize = 16 * 1024 * 1024;
const cipher = 'aes-xts-plain64';
const slot: LuksKeySlot = {
  id: '0',
  type: 'luks2',
  keySize: 64,
  encryption: cipher,
  end: headerSize,
  derivation: 'pbkdf2',
};
const segment: LuksSegment = { id: '0', type: 'crypt', encryption: cipher, offset: headerSize, flags: [] };
const sound: LuksMetadata = {
  keySlots: [slot],
  segments: [segment],
  requirements: [],
  binding: new Uint8Array(32).fill(1),
};

const refusals = (metadata: Partial<LuksMetadata>, binding = sound.binding) =>
  appraiseLuks('volume', { ...sound, ...metadata }, { headerSize, binding })
    .checks.filter(({ status }) => status === 'fail')
    .map(({ id }) => id);

describe('the metadata of a volume', () => {
  it.each<[string, Partial<LuksMetadata>]>([
    ['as it was made', {}],
    ['with a key of 32 bytes', { keySlots: [{ ...slot, keySize: 32 }] }],
    [
      'with a second pass-phrase, under argon2',
      { keySlots: [slot, { ...slot, id: '1', derivation: 'argon2id' }] },
    ],
  ])('%s is sound', (_what, metadata) => {
    expect(refusals(metadata)).toEqual([]);
  });

  it.each<[string, DiskCheck[], Partial<LuksMetadata>]>([
    ['without a key slot', ['disk.key-slots'], { keySlots: [] }],
    ['with a slot in plain text', ['disk.key-slots'], { keySlots: [{ ...slot, encryption: '' }] }],
    [
      'with one such slot among good ones',
      ['disk.key-slots'],
      { keySlots: [slot, { ...slot, encryption: 'cipher_null-ecb' }] },
    ],
    ['with a slot of another type', ['disk.key-slots'], { keySlots: [{ ...slot, type: 'luks1' }] }],
    ['with a key of no length', ['disk.key-slots'], { keySlots: [{ ...slot, keySize: 0 }] }],
    ['with a derivation that there is not', ['disk.key-slots'], { keySlots: [{ ...slot, derivation: '' }] }],
    [
      'with a slot behind what was copied',
      ['disk.key-slots'],
      { keySlots: [{ ...slot, end: headerSize + 1 }] },
    ],
    ['without data', ['disk.encryption'], { segments: [] }],
    [
      'whose data is linear, whatever cipher it names',
      ['disk.encryption'],
      { segments: [{ ...segment, type: 'linear' }] },
    ],
    [
      'whose data has another cipher',
      ['disk.encryption'],
      { segments: [{ ...segment, encryption: 'aes-ecb' }] },
    ],
    ['with two segments', ['disk.encryption'], { segments: [segment, { ...segment, id: '1' }] }],
    ['with a requirement', ['disk.state'], { requirements: ['online-reencrypt-v2'] }],
    [
      'with a slot of a re-encryption',
      ['disk.state'],
      { keySlots: [slot, { ...slot, id: '1', type: 'reencrypt' }] },
    ],
    [
      'with a segment in a re-encryption',
      ['disk.state'],
      { segments: [{ ...segment, flags: ['in-reencryption'] }] },
    ],
    ['of another volume', ['disk.binding'], { binding: new Uint8Array(32) }],
  ])('%s is refused', (_what, expected, metadata) => {
    expect(refusals(metadata)).toEqual(expected);
  });

  it('is not compared with a binding that nobody gave', () => {
    const { checks } = appraiseLuks('volume', sound, { headerSize });
    expect(checks.find(({ id }) => id === 'disk.binding')?.status).toBe('not-asked');
  });
});
