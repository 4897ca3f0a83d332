import { type Appraisal, Appraiser, checkTable, equalBytes, toHex } from '@vouchsafe/sev';
import type { LuksMetadata } from './luks-metadata.js';

/**
 * What the header of a LUKS2 volume must pass before a key is tried on it. The header is the host's to write: nothing in
 * it is authenticated until the volume key is known, and cryptsetup follows what it says.
 */
export const diskChecks = checkTable({
  'disk.key-slots': {
    title: 'every key slot is encrypted under its pass-phrase',
    protects:
      'a slot with the cipher “null” opens with every pass-phrase, to a volume key that whoever wrote it knows',
    hint: 'this is not the volume that was created; restore it, and ask who could write to the disk',
    kind: 'authenticity',
  },
  'disk.encryption': {
    title: 'all data is encrypted with AES-XTS',
    protects:
      'the guest would read what the host wrote, and write in plain text, behind a volume that opened',
    hint: 'this is not the volume that was created; restore it, and ask who could write to the disk',
    kind: 'authenticity',
  },
  'disk.state': {
    title: 'volume is at rest: no re-encryption is under way',
    protects: 'a re-encryption that the host pretends to have begun turns parts of the disk into plain text',
    hint: 'if a re-encryption was interrupted, finish it on a machine of your own: cryptsetup reencrypt --resume-only',
    kind: 'authenticity',
  },
  'disk.binding': {
    title: 'volume is the one that the key belongs to',
    protects: 'the host could offer another volume that the same pass-phrase opens, or an older volume key',
    hint: 'give the binding that `vouchsafe disk create` printed, from a place that the host cannot change',
    kind: 'expectation',
  },
});

export type DiskCheck = keyof typeof diskChecks;

const dataCipher = 'aes-xts-plain64';
const keySizes = [32, 64];
const derivations = ['pbkdf2', 'argon2i', 'argon2id'];

export interface LuksExpectation {
  /** Bytes of the header that were copied; what lies behind them is not looked at. */
  readonly headerSize: number;
  /** 32 bytes, as `disk create` gave it. */
  readonly binding?: Uint8Array | undefined;
}

/** Appraises the metadata of a volume. */
export function appraiseLuks(
  subject: string,
  metadata: LuksMetadata,
  { headerSize, binding }: LuksExpectation,
): Appraisal {
  const appraiser = new Appraiser(subject, diskChecks);
  const { keySlots, segments, requirements } = metadata;

  const faults = keySlots
    .filter(({ type }) => type !== 'reencrypt')
    .filter(
      (slot) =>
        slot.type !== 'luks2' ||
        slot.encryption !== dataCipher ||
        !keySizes.includes(slot.keySize) ||
        !derivations.includes(slot.derivation) ||
        slot.end > headerSize,
    );
  appraiser.report('disk.key-slots', keySlots.length > 0 && faults.length === 0, {
    expected: `slots of type luks2, encrypted with ${dataCipher}, within ${headerSize} bytes`,
    found:
      keySlots.length === 0
        ? 'no key slot'
        : (faults.length === 0 ? keySlots : faults)
            .map(
              ({ id, type, encryption, derivation }) =>
                `slot ${id}: ${type}, ${encryption || 'no cipher'}, ${derivation || 'no derivation'}`,
            )
            .join('; '),
  });

  const [segment, ...others] = segments;
  appraiser.report(
    'disk.encryption',
    segment?.type === 'crypt' && segment.encryption === dataCipher && others.length === 0,
    {
      expected: `one segment, ${dataCipher}`,
      found:
        segments.map(({ type, encryption }) => `${type} ${encryption}`.trim()).join('; ') || 'no segment',
    },
  );

  const signs = [
    ...requirements,
    ...keySlots.filter(({ type }) => type === 'reencrypt').map(({ id }) => `slot ${id}: reencrypt`),
    ...segments.flatMap(({ id, flags }) => flags.map((flag) => `segment ${id}: ${flag}`)),
  ];
  appraiser.report('disk.state', signs.length === 0, {
    expected: 'no requirements and flags',
    found: signs.length === 0 ? 'none' : signs.join('; '),
  });

  if (binding === undefined) {
    appraiser.notAsked('disk.binding', 'give the volume’s binding, as `vouchsafe disk create` printed it');
  } else {
    appraiser.report('disk.binding', equalBytes(binding, metadata.binding), {
      expected: toHex(binding),
      found: toHex(metadata.binding),
    });
  }
  return appraiser.finish();
}
