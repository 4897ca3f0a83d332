import { appraiseLuks, parseLuksMetadata } from '@vouchsafe/guest';
import { systemRandom, toBase64 } from '@vouchsafe/sev';
import type { SnpAttack } from '../attack.js';
import { appraisedByGuest } from '../outcome.js';

/**
 * The guest's encrypted disk, which lies with the host: nothing authenticates the header of a LUKS2 volume until its key
 * is known, and cryptsetup does as it says. What is tried here is what a guest makes of the header before it tries a key.
 */

const modes = ['snp'] as const;
const common = { flow: 'disks', modes } as const;
const headerSize = 16 * 1024 * 1024;
const cipher = 'aes-xts-plain64';

/** The JSON of a header, as `cryptsetup luksFormat` writes it. */
function newHeader() {
  const random = (length: number) => toBase64(systemRandom(length));
  return {
    keyslots: {
      0: {
        type: 'luks2',
        key_size: 64,
        af: { type: 'luks1', stripes: 4000, hash: 'sha256' },
        area: { type: 'raw', offset: '32768', size: '258048', encryption: cipher, key_size: 64 },
        kdf: { type: 'pbkdf2', hash: 'sha256', iterations: 1000, salt: random(32) },
      },
    },
    tokens: {},
    segments: {
      0: { type: 'crypt', offset: `${headerSize}`, size: 'dynamic', iv_tweak: '0', encryption: cipher },
    },
    digests: {
      0: {
        ...{ type: 'pbkdf2', keyslots: ['0'], segments: ['0'], hash: 'sha256', iterations: 1000 },
        salt: random(32),
        digest: random(32),
      },
    },
    config: { json_size: '12288', keyslots_size: '16744448', requirements: { mandatory: [] as string[] } },
  };
}
type Header = ReturnType<typeof newHeader>;

/** What the guest makes of the header that the host shows it in the place of its own. */
async function shown(swap: (own: Header) => Header) {
  const own = newHeader();
  const { binding } = await parseLuksMetadata(JSON.stringify(own));
  return appraisedByGuest('a disk that the guest takes for its own', async () => {
    const metadata = await parseLuksMetadata(JSON.stringify(swap(structuredClone(own))));
    return appraiseLuks('the guest’s disk', metadata, { headerSize, binding });
  });
}

export const diskAttacks: readonly SnpAttack[] = [
  {
    ...common,
    id: 'luks-header-of-another-volume',
    title: 'The host puts the header of another volume, with a key of its own, before the guest’s data',
    refusedBy: 'guest',
    at: 'disk.binding',
    run: () => shown(() => newHeader()),
  },
  {
    ...common,
    id: 'luks-slot-without-encryption',
    title: 'The host rewrites a key slot so that every pass-phrase opens it, to a volume key that it knows',
    refusedBy: 'guest',
    at: 'disk.key-slots',
    run: () =>
      shown((own) => {
        own.keyslots[0].area.encryption = 'cipher_null-ecb';
        return own;
      }),
  },
  {
    ...common,
    id: 'luks-data-without-encryption',
    title: 'The host rewrites the header so that the data behind it is not encrypted at all',
    refusedBy: 'guest',
    at: 'disk.encryption',
    run: () =>
      shown((own) => {
        own.segments[0].encryption = 'cipher_null-ecb';
        return own;
      }),
  },
  {
    ...common,
    id: 'luks-re-encryption-pretended',
    title: 'The host says in the header that a re-encryption is under way, which the guest would go on with',
    refusedBy: 'guest',
    at: 'disk.state',
    run: () =>
      shown((own) => {
        own.config.requirements.mandatory.push('online-reencrypt-v2');
        return own;
      }),
  },
  {
    ...common,
    id: 'luks-volume-rolled-back',
    title: 'The host puts an older image of a whole LUKS volume back',
    refusedBy: 'nobody',
    at: 'a disk that the guest takes for its own',
    limit: {
      why: 'an older image has the same header under the same volume key, and dm-crypt does not know which sectors are the newest',
      caughtBy:
        'for an image from before `vouchsafe disk rekey`, the key: the owner’s opens no slot of it (`wrong-disk-key`), or with `--volume-key` `disk.binding`; for a newer image nobody: what must not go back belongs with the broker, or in a database elsewhere',
    },
    run: () => shown((own) => own),
  },
];
